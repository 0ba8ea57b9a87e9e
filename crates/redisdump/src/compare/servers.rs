//! Two servers against each other, key by key, both ways.

use std::collections::BTreeSet;

use crate::client::identity::identify;
use crate::client::names::{Names, Scan};
use crate::client::wire::Connection;
use crate::cluster::each_master;
use crate::compare::canonical::Asker;
use crate::compare::outcome::{Findings, Sides, Verdict, judge};
use crate::compare::report::{Comparison, DifferenceKind, Progress};
use crate::convert::commands::Losses;
use crate::restore::KeyChoice;
use crate::{ConnectOptions, Error};

/// How two sides are compared.
#[derive(Debug, Clone)]
pub struct CompareOptions {
    /// How many of the keys that differ are named.
    pub show: usize,
    /// Which keys of an RDB a server is to hold, and in which databases ([`prove`](crate::prove()) only).
    pub choice: KeyChoice,
    /// The server may hold other keys and functions too ([`prove`](crate::prove()) only).
    pub others_allowed: bool,
    /// What the right side cannot hold and was not given, as its restore has told: it is counted apart.
    pub left_out: Losses,
    /// Keys whose names are remembered, about 40 bytes each, so that what is beyond them can be named.
    pub remembered_keys: u64,
}

impl Default for CompareOptions {
    fn default() -> Self {
        CompareOptions {
            show: 20,
            choice: KeyChoice::default(),
            others_allowed: false,
            left_out: Losses::default(),
            remembered_keys: 800_000,
        }
    }
}

/// Keys that are asked for at a time.
pub(crate) const BATCH: usize = 64;

/// Compares every key of every database: type, value and expiry. Neither server is written to.
pub async fn compare(
    left: &ConnectOptions,
    right: &ConnectOptions,
    options: &CompareOptions,
    on_progress: &(dyn Fn(Progress) + Sync),
) -> Result<Comparison, Error> {
    let (mut left_scan, mut right_scan) =
        futures::try_join!(Connection::open(left), Connection::open(right))?;
    let (left_id, right_id) =
        futures::try_join!(identify(&mut left_scan, left), identify(&mut right_scan, right))?;
    let (mut left_scans, mut right_scans) = (scans(left).await?, scans(right).await?);
    let mut pair = Pair {
        left: Asker::open(left, &left_id).await?,
        right: Asker::open(right, &right_id).await?,
        findings: Findings::new(options.show),
        left_out: &options.left_out,
    };
    let counters = pair.left.has_counters() && pair.right.has_counters();
    pair.left.counters(counters);
    pair.right.counters(counters);
    let mut dbs: BTreeSet<u64> = pair.left.databases(&left_id).await?.into_keys().collect();
    dbs.extend(pair.right.databases(&right_id).await?.into_keys());

    let mut seen = 0;
    // SCAN tells some keys twice; of a giant database those beyond what is remembered may count twice.
    let mut names = Names::new(options.remembered_keys);
    for db in &dbs {
        pair.left.select(*db).await?;
        pair.right.select(*db).await?;
        names.clear();
        for connection in &mut left_scans {
            connection.ask(&[b"SELECT", db.to_string().as_bytes()]).await?;
            let mut scan = Scan::of_chosen(connection);
            while let Some(mut keys) = scan.next().await? {
                keys.retain(|key| names.add(*db, key));
                for batch in keys.chunks(BATCH) {
                    pair.compare(*db, batch).await?;
                    seen += batch.len() as u64;
                    on_progress(Progress { bytes: 0, keys: seen });
                }
            }
        }
        names.clear();
        for connection in &mut right_scans {
            connection.ask(&[b"SELECT", db.to_string().as_bytes()]).await?;
            let mut scan = Scan::of_chosen(connection);
            while let Some(keys) = scan.next().await? {
                for batch in keys.chunks(BATCH * 8) {
                    pair.only_right(*db, batch, &mut names).await?;
                }
            }
        }
    }
    let libraries = (pair.left.functions(&left_id).await?, pair.right.functions(&right_id).await?);
    for (asker, options) in [(&mut pair.left, left), (&mut pair.right, right)] {
        if asker.changed().await? {
            let changes = vec!["slots or roles changed hands: compare again".to_owned()];
            return Err(Error::ClusterChanged { target: options.display().to_string(), changes });
        }
    }
    let Pair { left: one, right: other, findings, .. } = pair;
    Ok(findings.finish(Sides {
        left: left_id.to_string(),
        right: right_id,
        functions_equal: equal_functions(libraries).filter(|_| !options.left_out.left_out_functions()),
        counters,
        slack: one.slack().max(other.slack()),
        with_metadata: one.with_metadata().max(other.with_metadata()),
        slots_moved: false,
    }))
}

/// Connections over which all keys of a side are found: one, or one to each master of a cluster.
async fn scans(options: &ConnectOptions) -> Result<Vec<Connection>, Error> {
    each_master(options, |node| async move { Connection::open(&node).await }).await
}

/// Whether both sides have the same libraries; nothing where neither can have any.
pub(crate) fn equal_functions(sides: (Option<Vec<u128>>, Option<Vec<u128>>)) -> Option<bool> {
    match sides {
        (None, None) => None,
        (left, right) => Some(left.unwrap_or_default() == right.unwrap_or_default()),
    }
}

struct Pair<'a> {
    left: Asker,
    right: Asker,
    findings: Findings,
    left_out: &'a Losses,
}

impl Pair<'_> {
    /// The later of the two clocks: what is due by one of them may be gone from its server.
    fn now(&self) -> i64 {
        self.left.now().max(self.right.now())
    }

    async fn compare(&mut self, db: u64, keys: &[Vec<u8>]) -> Result<(), Error> {
        let names: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let (left, right) = futures::try_join!(self.left.look_up(&names), self.right.look_up(&names))?;
        let now = self.now();
        for ((name, left), right) in names.iter().zip(left).zip(right) {
            let mut verdict = judge(left.as_ref(), right.as_ref(), now);
            if matches!(verdict, Verdict::Different(..)) {
                // Asked once more: it may have expired or changed between the two questions.
                let one = [*name];
                let (l, r) = futures::try_join!(self.left.look_up(&one), self.right.look_up(&one))?;
                let (l, r) = (l.into_iter().flatten().next(), r.into_iter().flatten().next());
                verdict = judge(l.as_ref(), r.as_ref(), self.now());
            }
            let missing = matches!(verdict, Verdict::Different(DifferenceKind::MissingRight, _));
            if missing && self.left_out.left_out(db, name) {
                self.findings.leave_out();
            } else {
                self.findings.note(db, name, verdict);
            }
        }
        Ok(())
    }

    /// Keys of the right side that the left one lacks, but for those that were found before.
    async fn only_right(&mut self, db: u64, keys: &[Vec<u8>], found: &mut Names) -> Result<(), Error> {
        let names: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let mut missing = self.left.missing(&names).await?;
        missing.retain(|name| found.add(db, name));
        for batch in missing.chunks(BATCH) {
            let left = self.left.look_up(batch).await?;
            let right = self.right.look_up(batch).await?;
            let now = self.now();
            for ((name, left), right) in batch.iter().zip(left).zip(right) {
                // What the left side has again, or the right one no more, was looked at before.
                if let (None, Some(right)) = (left, right) {
                    self.findings.note(db, name, judge(None, Some(&right), now));
                }
            }
        }
        Ok(())
    }
}
