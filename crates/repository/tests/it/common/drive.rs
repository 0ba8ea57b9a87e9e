//! The scheduler: hosts that write, forget, undelete, prune and check at the same time, in an order that a seed decides.
//!
//! Time is tokio's paused clock. It moves by itself only when no host has anything left to do but to wait for its store,
//! so that a short sleep waits for exactly that; larger leaps are made by the scheduler.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use futures::{FutureExt as _, TryStreamExt as _};
use repository::{
    CheckOptions, Chunker, Error, InitOptions, Manifest, PartHeader, PruneOptions, Repository, SnapshotId,
    SnapshotStart, SourceRecord, Store, StoreEnv,
};
use tokio::task::JoinHandle;

use super::sim::{Broken, Client, Rng, Role, Weather, World};

pub(crate) const GRACE: Duration = Duration::from_secs(72 * 3600);
pub(crate) const MARGIN: Duration = Duration::from_secs(3600);
/// Number of different parts that snapshots consist of: few, so that they share nearly everything.
const CONTENTS: usize = 5;
/// Hosts at the same time.
const HOSTS: usize = 4;

/// Parameters of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Course {
    pub(crate) broken: Option<Broken>,
    pub(crate) weather: Weather,
    pub(crate) hosts: usize,
    /// The store's clock is set back at any time, and forward while no host is active. It always drifts a little.
    pub(crate) clock_jumps: bool,
}

impl Course {
    pub(crate) fn calm() -> Course {
        Course { broken: None, weather: Weather::default(), hosts: 28, clock_jumps: false }
    }
}

/// Result of a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    pub(crate) violation: Option<String>,
    pub(crate) trace: Vec<String>,
    pub(crate) requests: u64,
    pub(crate) commits: u64,
    pub(crate) refusals: u64,
    pub(crate) crashes: u64,
    pub(crate) swept: u64,
    pub(crate) forgotten: u64,
    pub(crate) undeleted: u64,
    pub(crate) copied: u64,
    pub(crate) prunes: u64,
    /// Prunes that did not wait for the grace period.
    pub(crate) prunes_now: u64,
    pub(crate) read_back: u64,
    pub(crate) faults: u64,
    pub(crate) failures: u64,
    pub(crate) jumps: u64,
}

impl Outcome {
    pub(crate) fn add(&mut self, other: &Outcome) {
        self.requests += other.requests;
        self.commits += other.commits;
        self.refusals += other.refusals;
        self.crashes += other.crashes;
        self.swept += other.swept;
        self.forgotten += other.forgotten;
        self.undeleted += other.undeleted;
        self.copied += other.copied;
        self.prunes += other.prunes;
        self.prunes_now += other.prunes_now;
        self.read_back += other.read_back;
        self.faults += other.faults;
        self.failures += other.failures;
        self.jumps += other.jumps;
    }
}

/// What the hosts did, as they know it.
#[derive(Debug, Default)]
struct Log {
    /// Expected contents of each committed snapshot.
    contents: BTreeMap<String, Vec<usize>>,
    /// Snapshots that must be listed: committed or undeleted, and no forget was begun since.
    must_list: BTreeSet<String>,
    /// How often forgetting each snapshot was begun, and ended.
    forgetting: BTreeMap<String, (usize, usize)>,
    outcome: Outcome,
    /// Errors that no host should see in this weather.
    wrong: Vec<String>,
}

/// A repository with its snapshots and the parts of each.
type Another = (Repository, Vec<(SnapshotId, Vec<usize>)>);

#[derive(Clone)]
struct Host {
    client: Client,
    /// Its store works reliably.
    other: Arc<Another>,
    log: Arc<Mutex<Log>>,
    stormy: bool,
}

fn content(number: usize) -> Vec<u8> {
    super::data(number as u64 + 1, 40 + number)
}

impl Host {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn open(&self) -> Result<Repository, Error> {
        Repository::open(Store::custom(Arc::new(self.client.clone()), "simulated")).await
    }

    async fn work(self, mut rng: Rng) {
        let result = match self.client.role {
            Role::Writer => self.write(&mut rng).await,
            Role::Forgetter => self.forget(&mut rng).await,
            Role::Undeleter => self.undelete(&mut rng).await,
            Role::Copier => self.copy(&mut rng).await,
            Role::Pruner => self.prune(&mut rng).await,
            Role::Checker => self.check().await,
        };
        if result.is_ok() && self.client.world().failed.contains(&self.client.actor) {
            self.log().wrong.push(format!("{:?} met a failure and reports none", self.client));
        }
        if let Err(error) = result {
            let mut log = self.log();
            match error {
                // Also refusals of a prune that does not wait, and of snapshots that it had considered dead.
                Error::TooLong { .. } | Error::NoSnapshot { .. } | Error::InUse { .. } | Error::Overrun => {
                    log.outcome.refusals += 1;
                }
                Error::Store { .. } | Error::Damaged { .. } if self.stormy => log.outcome.failures += 1,
                error => log.wrong.push(format!("{:?}: {error}", self.client)),
            }
        }
    }

    async fn write(&self, rng: &mut Rng) -> Result<(), Error> {
        let repo = self.open().await?;
        let at = self.client.world().now();
        let writer = repo.begin(SnapshotStart::new("job", at, "model 1")).await?;
        let id = writer.id().to_string();
        let wanted: BTreeSet<usize> = (0..1 + rng.below(3)).map(|_| rng.below(CONTENTS)).collect();
        let mut parts = Vec::new();
        for number in &wanted {
            self.client.think().await;
            let bytes: Result<_, std::io::Error> = Ok(content(*number).into());
            let header = PartHeader::new(format!("part {number}"), "model");
            parts.push(writer.write_part(header, futures::stream::iter([bytes])).await?);
        }
        self.client.think().await;
        let null = serde_json::Value::Null;
        let source = SourceRecord {
            name: "s".into(),
            kind: "model".into(),
            server: null.clone(),
            details: null,
            parts,
        };
        // Recorded before it is listed: if the response is lost, the snapshot must be complete all the same.
        self.log().contents.insert(id.clone(), wanted.into_iter().collect());
        writer.commit(vec![source], true).await?;
        let mut log = self.log();
        log.outcome.commits += 1;
        // Its response may arrive after another host has forgotten it.
        if !log.forgetting.contains_key(&id) {
            log.must_list.insert(id);
        }
        Ok(())
    }

    async fn forget(&self, rng: &mut Rng) -> Result<(), Error> {
        let repo = self.open().await?;
        let listing = repo.snapshots().await?.manifests;
        if listing.is_empty() {
            return Ok(());
        }
        let id = listing[rng.below(listing.len())].id.clone();
        {
            let mut log = self.log();
            log.must_list.remove(id.as_str());
            // A host that dies during a forget counts forever: its requests may still arrive.
            log.forgetting.entry(id.to_string()).or_default().0 += 1;
        }
        repo.forget(std::slice::from_ref(&id), Utc::now()).await?;
        let mut log = self.log();
        log.outcome.forgotten += 1;
        log.forgetting.entry(id.to_string()).or_default().1 += 1;
        Ok(())
    }

    async fn undelete(&self, rng: &mut Rng) -> Result<(), Error> {
        let repo = self.open().await?;
        let names = self.client.world().names("tombstones/");
        let known: Vec<_> = self.log().contents.keys().cloned().collect();
        let forgotten: Vec<_> =
            known.into_iter().filter(|id| names.contains(&format!("tombstones/{id}.json"))).collect();
        if forgotten.is_empty() {
            return Ok(());
        }
        let text = &forgotten[rng.below(forgotten.len())];
        let id = serde_json::from_value(serde_json::Value::String(text.clone())).unwrap();
        let forgetting = |log: &Log| log.forgetting.get(text).copied().unwrap_or_default();
        let before = forgetting(&self.log());
        repo.undelete(&id).await?;
        let mut log = self.log();
        log.outcome.undeleted += 1;
        if before.0 == before.1 && forgetting(&log) == before {
            log.must_list.insert(text.clone());
        }
        Ok(())
    }

    /// Copies from the other repository into the one on the simulated store.
    async fn copy(&self, rng: &mut Rng) -> Result<(), Error> {
        let repo = self.open().await?;
        let (other, snapshots) = &*self.other;
        let first = rng.below(snapshots.len());
        let (ids, contents): (Vec<_>, Vec<_>) = snapshots[first..].iter().take(2).cloned().unzip();
        for (id, content) in ids.iter().zip(contents) {
            self.log().contents.insert(id.to_string(), content);
        }
        let report = other.copy_to(&repo, &ids, &|_| {}).await?;
        let mut log = self.log();
        // A manifest whose write was torn is not a copy.
        if !self.stormy && !report.failed.is_empty() {
            log.wrong.push(format!("{report:?}"));
        }
        for copied in report.copied {
            log.outcome.copied += 1;
            if !log.forgetting.contains_key(copied.id.as_str()) {
                log.must_list.insert(copied.id.to_string());
            }
        }
        Ok(())
    }

    async fn prune(&self, rng: &mut Rng) -> Result<(), Error> {
        let repo = self.open().await?;
        let options = PruneOptions { dry_run: false, now: Utc::now() };
        if rng.chance(200) {
            repo.prune_now(&options).await?;
            self.log().outcome.prunes_now += 1;
        } else {
            repo.prune(&options).await?;
            self.log().outcome.prunes += 1;
        }
        Ok(())
    }

    async fn check(&self) -> Result<(), Error> {
        let repo = self.open().await?;
        let now = self.client.world().now();
        let report = repo.check(&CheckOptions { read_data: true, now }).await?;
        // A failed request does not end a check; the report shows the failure.
        match report.passed() && report.not_attested.is_none() {
            true => Ok(()),
            false => Err(Error::Damaged { object: "the repository".into(), message: report.to_string() }),
        }
    }
}

/// A repository with snapshots of the same parts, and with the same chunker and ids.
async fn another(options: &InitOptions) -> Another {
    let store = Store::open("memory:", &StoreEnv::default()).unwrap();
    let other = Repository::init(store, options).await.unwrap();
    let mut snapshots = Vec::new();
    for numbers in [vec![0, 3], vec![1, 2, 4]] {
        let parts: Vec<_> =
            numbers.iter().map(|number| (format!("part {number}"), content(*number))).collect();
        let parts: Vec<(&str, &[u8])> = parts.iter().map(|(name, bytes)| (&**name, &**bytes)).collect();
        snapshots.push((super::write_snapshot(&other, "job", &parts).await.id, numbers));
    }
    (other, snapshots)
}

/// One run.
pub(crate) async fn run(seed: u64, course: Course) -> Outcome {
    let mut rng = Rng::new(seed);
    let world = World::shared();
    // Half of the stores honour conditional writes. The repository detects this when it is created.
    world.lock().unwrap().conditional = seed.is_multiple_of(2);
    let log = Arc::new(Mutex::new(Log::default()));
    let client = |actor, role| Client { world: Arc::clone(&world), actor, role };
    let store = Store::custom(Arc::new(client(0, Role::Checker)), "simulated");
    let chunker = Chunker { min: 64, average: 256, max: 1024 };
    let options = InitOptions { chunker, grace: GRACE, ..InitOptions::default() };
    let sound = Repository::init(store, &options).await.unwrap();
    let other = Arc::new(another(&options).await);
    let lock = || world.lock().unwrap_or_else(PoisonError::into_inner);
    {
        let mut world = lock();
        world.immediate = false;
        world.broken = course.broken;
    }
    let mut hosts: BTreeMap<usize, (Role, JoinHandle<()>)> = BTreeMap::new();
    let mut started = 0;
    // If the clock drifts, requests are faster by that much: drift and delay together stay within the margin.
    let longest = if course.clock_jumps { MARGIN / 2 } else { MARGIN };
    // A leap that waits until no request is pending.
    let mut leap: Option<Duration> = None;
    loop {
        // Until every host waits for its store.
        tokio::time::sleep(Duration::from_millis(1)).await;
        hosts.retain(|_, (_, task)| !task.is_finished());
        if lock().violation.is_some() {
            break;
        }
        if started < course.hosts && hosts.len() < HOSTS && leap.is_none() && rng.chance(200)
            || hosts.is_empty()
        {
            if started >= course.hosts {
                break;
            }
            started += 1;
            if course.clock_jumps && hosts.is_empty() && lock().is_idle() && rng.chance(300) {
                lock().jump(TimeDelta::minutes(rng.below(400 * 60) as i64));
            }
            let role = match rng.below(20) {
                0..7 => Role::Writer,
                7 => Role::Copier,
                8..11 => Role::Forgetter,
                11..13 => Role::Undeleter,
                13..19 => Role::Pruner,
                _ => Role::Checker,
            };
            let host = Host {
                client: client(started, role),
                other: Arc::clone(&other),
                log: Arc::clone(&log),
                stormy: course.weather.stormy(),
            };
            let log = Arc::clone(&log);
            let work = AssertUnwindSafe(host.work(rng.clone())).catch_unwind();
            let work = async move {
                if work.await.is_err() {
                    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                    log.wrong.push(format!("a {role:?} panicked"));
                }
            };
            hosts.insert(started, (role, tokio::task::spawn_local(work)));
            rng.next();
            continue;
        }
        if rng.chance(5) && !hosts.is_empty() {
            let victim = *hosts.keys().nth(rng.below(hosts.len())).unwrap();
            if let Some((_, task)) = hosts.remove(&victim) {
                task.abort();
                lock().bury(victim, &mut rng);
                log.lock().unwrap_or_else(PoisonError::into_inner).outcome.crashes += 1;
            }
            continue;
        }
        if leap.is_none() && rng.chance(40) {
            leap = Some(match rng.below(6) {
                0 => MARGIN / 2,
                1 => MARGIN + Duration::from_secs(60),
                2 => GRACE / 3,
                3 => GRACE - MARGIN / 2,
                _ => GRACE + MARGIN / 2,
            });
        }
        // A short leap while requests are pending: at most the delay that the format allows.
        if rng.chance(30) {
            let most = lock().patience(longest).min(longest);
            tokio::time::advance(most.mul_f64(rng.below(1000) as f64 / 1000.0)).await;
            continue;
        }
        let idle = {
            let mut now = lock();
            now.drop_abandoned(&mut rng);
            let waiting = now.sorted().iter().enumerate();
            let busy = waiting.filter(|(_, p)| leap.is_none() || !p.thinks()).map(|(at, _)| at);
            let busy: Vec<usize> = busy.collect();
            if !busy.is_empty() {
                let at = busy[rng.below(busy.len())];
                now.serve(at, &mut rng, &course.weather);
            }
            busy.is_empty()
        };
        if idle && let Some(by) = leap.take() {
            if course.clock_jumps {
                lock().drift(TimeDelta::seconds(rng.below(MARGIN.as_secs() as usize / 3) as i64));
                if rng.chance(300) {
                    lock().jump(TimeDelta::minutes(-(rng.below(200 * 60) as i64)));
                }
            }
            lock().remove_torn_documents();
            if course.broken == Some(Broken::WriterTooLate) {
                lock().skew_by(by);
            } else {
                tokio::time::advance(by).await;
            }
        }
    }
    for (_, task) in hosts.into_values() {
        task.abort();
    }
    settle(&world, &log, &sound).await
}

impl Weather {
    pub(crate) fn stormy(&self) -> bool {
        self.refused + self.lied + self.late + self.torn + self.stale > 0
    }
}

/// After the faults: every listed snapshot must read back through the production code.
async fn settle(world: &Arc<Mutex<World>>, log: &Arc<Mutex<Log>>, sound: &Repository) -> Outcome {
    let lock = || world.lock().unwrap_or_else(PoisonError::into_inner);
    {
        let mut world = lock();
        world.immediate = true;
        world.broken = None;
        world.remove_torn_documents();
    }
    let (contents, must_list, wrong, mut outcome) = {
        let log = log.lock().unwrap_or_else(PoisonError::into_inner);
        (log.contents.clone(), log.must_list.clone(), log.wrong.clone(), log.outcome.clone())
    };
    let violated = lock().violation.is_some();
    if !violated {
        let mut wrongs = wrong;
        let listing = sound.snapshots().await.unwrap();
        let listed: BTreeMap<String, &Manifest> =
            listing.manifests.iter().map(|m| (m.id.to_string(), m)).collect();
        wrongs.extend(listing.unreadable.iter().map(|u| format!("{}: {}", u.name, u.error)));
        let taken_back = lock().taken_back.clone();
        let must_list = must_list.iter().filter(|id| !taken_back.contains(*id));
        wrongs
            .extend(must_list.filter(|id| !listed.contains_key(*id)).map(|id| format!("{id} is not listed")));
        for (id, manifest) in &listed {
            for ((_, part), number) in manifest.parts().zip(contents.get(id).into_iter().flatten()) {
                let read: Result<Vec<_>, Error> = sound.read_part(part).try_collect().await;
                match read {
                    Ok(pieces) if pieces.concat() == content(*number) => outcome.read_back += 1,
                    Ok(_) => wrongs.push(format!("{id}: part {number} reads back differently")),
                    Err(error) => wrongs.push(format!("{id}: {error}")),
                }
            }
        }
        let now = lock().now();
        let report = sound.check(&CheckOptions { read_data: true, now }).await.unwrap();
        if !report.passed() || report.whole.len() != listed.len() {
            wrongs.push(report.to_string());
        }
        wrongs.into_iter().for_each(|wrong| lock().violate(wrong));
    }
    let mut world = lock();
    outcome.violation = world.violation.take();
    outcome.trace = std::mem::take(&mut world.trace);
    outcome.requests = world.requests;
    outcome.swept = world.swept;
    outcome.faults = world.faults;
    outcome.jumps = world.jumps;
    outcome
}

/// Runs seeds on every core. Returns the sum, and the first seed that failed, with its log.
pub(crate) fn run_all(seeds: std::ops::Range<u64>, course: Course) -> (Outcome, Option<(u64, Outcome)>) {
    let next = Arc::new(std::sync::atomic::AtomicU64::new(seeds.start));
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    let threads: Vec<_> = (0..workers)
        .map(|_| {
            let next = Arc::clone(&next);
            std::thread::spawn(move || {
                let mut sum = Outcome::default();
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if seed >= seeds.end {
                        return (sum, None);
                    }
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_time()
                        .start_paused(true)
                        .max_blocking_threads(1)
                        .build()
                        .unwrap();
                    let outcome = tokio::task::LocalSet::new().block_on(&runtime, run(seed, course));
                    sum.add(&outcome);
                    if outcome.violation.is_some() {
                        next.store(u64::MAX / 2, std::sync::atomic::Ordering::Relaxed);
                        return (sum, Some((seed, outcome)));
                    }
                }
            })
        })
        .collect();
    let mut all = Outcome::default();
    let mut found: Option<(u64, Outcome)> = None;
    for thread in threads {
        let (sum, violated) = thread.join().unwrap();
        all.add(&sum);
        found = found.into_iter().chain(violated).min_by_key(|(seed, _)| *seed);
    }
    (all, found)
}
