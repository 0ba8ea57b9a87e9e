//! Compares two servers, key by key, in both directions.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::client::connection::Connection;
use crate::client::identity::identify;
use crate::client::names::{Names, Scan};
use crate::cluster::each_master;
use crate::compare::canonical::{KeyReader, Live};
use crate::compare::outcome::{Findings, KeyOutcome, Sides, diff};
use crate::compare::reach::Reach;
use crate::compare::report::{Comparison, DifferenceKind, Progress};
use crate::convert::commands::UnsupportedValues;
use crate::restore::{KeyChoice, Matched};
use crate::{ConnectOptions, Error, ServerIdentity};

/// How two sides are compared.
#[derive(Debug, Clone)]
pub struct CompareOptions {
    /// Number of differing keys that are named.
    pub show: usize,
    /// Which keys of the left side the right one must hold, in which databases, and with which names and expiries.
    pub choice: KeyChoice,
    /// If the choice is partial, the server may hold other keys and functions ([`compare()`] always allows it).
    pub only_selected: bool,
    /// The server may hold other keys and functions ([`prove`](crate::prove()) only).
    pub others_allowed: bool,
    /// What the right side does not support and was not sent, as reported by its restore: counted separately.
    pub left_out: UnsupportedValues,
    /// Number of key names kept in memory, about 40 bytes each, so that additional keys can be named.
    pub remembered_keys: u64,
}

impl Default for CompareOptions {
    fn default() -> Self {
        CompareOptions {
            show: 20,
            choice: KeyChoice::default(),
            only_selected: false,
            others_allowed: false,
            left_out: UnsupportedValues::default(),
            remembered_keys: 800_000,
        }
    }
}

/// Number of keys queried at a time.
pub(crate) const BATCH: usize = 1024;

/// Compares the selected keys of every database: type, value and expiry. Neither server is written to.
///
/// # Errors
/// [`Error::Options`] for patterns and databases that match no key; servers that cannot be queried.
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
    let choice = &options.choice;
    let mut pair = Pair::open((left, &left_id), (right, &right_id), options).await?;
    let counters = pair.left.has_counters() && pair.right.has_counters();
    let left_dbs: BTreeSet<u64> = pair.left.databases(&left_id).await?.into_keys().collect();
    let right_dbs: BTreeSet<u64> = pair.right.databases(&right_id).await?.into_keys().collect();
    let arriving = left_dbs.iter().filter(|db| choice.has_database(**db)).map(|db| choice.database(*db));
    let dbs: BTreeSet<u64> = arriving.chain(right_dbs.iter().copied()).collect();

    let mut seen = 0;
    let mut matched = Matched::default();
    // SCAN may return a key twice; in a very large database, keys beyond those kept in memory may be counted twice.
    let mut names = Names::new(options.remembered_keys);
    for db in dbs {
        let origins = choice.origins(db);
        if origins.is_empty() && choice.is_part() {
            continue;
        }
        let origins: Vec<u64> = origins.into_iter().filter(|from| left_dbs.contains(from)).collect();
        names.clear();
        for from in &origins {
            pair.left.select(*from).await?;
            for connection in &mut left_scans {
                connection.select(*from).await?;
                let mut scan = Scan::of_chosen(connection);
                while let Some(mut keys) = scan.next().await? {
                    keys.retain(|key| {
                        matched.note(choice, *from, key);
                        choice.wants(key) && names.add(db, &choice.name(key))
                    });
                    for batch in keys.chunks(BATCH) {
                        pair.compare(db, batch).await?;
                        seen += batch.len() as u64;
                        on_progress(Progress { bytes: 0, keys: seen });
                    }
                }
            }
        }
        if right_dbs.contains(&db) {
            pair.scan_right(db, &origins, &mut right_scans, (&names, options.remembered_keys)).await?;
        }
    }
    matched.finish(choice)?;
    let libraries = (pair.left.functions(&left_id).await?, pair.right.functions(&right_id).await?);
    pair.refuse_changed(left, right).await?;
    let functions_equal = match libraries {
        // For a partial choice, additional keys of the right side are not looked for.
        (Some(of_left), of_right) if choice.is_part() => {
            let of_right = of_right.unwrap_or_default();
            Some(of_left.iter().all(|library| of_right.contains(library)))
        }
        libraries => equal_functions(libraries),
    };
    let Pair { left: one, right: other, left_reach, right_reach, mut findings, .. } = pair;
    findings.unreachable = left_reach.unreachable(&left_id.to_string());
    findings.unreachable.extend(right_reach.unreachable(&right_id.to_string()));
    Ok(findings.finish(Sides {
        left: left_id.to_string(),
        right: right_id,
        functions_equal: functions_equal.filter(|_| !options.left_out.left_out_functions()),
        counters,
        slack: one.slack().max(other.slack()),
        with_metadata: one.with_metadata().max(other.with_metadata()),
        slots_moved: false,
    }))
}

/// Connections over which all keys of a side are found: one, or one for each master of a cluster.
async fn scans(options: &ConnectOptions) -> Result<Vec<Connection>, Error> {
    each_master(options, |node| async move { Connection::open(&node).await }).await
}

/// Whether both sides have the same libraries; `None` if neither supports any.
pub(crate) fn equal_functions(sides: (Option<Vec<u128>>, Option<Vec<u128>>)) -> Option<bool> {
    match sides {
        (None, None) => None,
        (left, right) => Some(left.unwrap_or_default() == right.unwrap_or_default()),
    }
}

struct Pair<'a> {
    left: KeyReader,
    right: KeyReader,
    left_reach: Reach,
    right_reach: Reach,
    findings: Findings,
    left_out: &'a UnsupportedValues,
    choice: &'a KeyChoice,
}

impl<'a> Pair<'a> {
    /// Connects to both sides, which agree on what is part of the digests.
    async fn open(
        (left, left_id): (&ConnectOptions, &ServerIdentity),
        (right, right_id): (&ConnectOptions, &ServerIdentity),
        options: &'a CompareOptions,
    ) -> Result<Pair<'a>, Error> {
        let mut pair = Pair {
            left: KeyReader::open(left, left_id).await?,
            right: KeyReader::open(right, right_id).await?,
            left_reach: Reach::of(left, left_id).await?,
            right_reach: Reach::of(right, right_id).await?,
            findings: Findings::new(options.show),
            left_out: &options.left_out,
            choice: &options.choice,
        };
        let counters = pair.left.has_counters() && pair.right.has_counters();
        pair.left.counters(counters);
        pair.right.counters(counters);
        if pair.choice.drop_field_expiries {
            pair.left.without_field_expiries();
        }
        Ok(pair)
    }

    /// Looks for additional keys in database `db` of the right side. `compared` holds the names of keys that were
    /// compared, as far as they fit; the left side is asked for all others.
    async fn scan_right(
        &mut self,
        db: u64,
        origins: &[u64],
        scans: &mut [Connection],
        (compared, most): (&Names, u64),
    ) -> Result<(), Error> {
        let mut found = Names::new(most);
        self.right.select(db).await?;
        for connection in scans {
            connection.select(db).await?;
            let mut scan = Scan::of_chosen(connection);
            while let Some(mut keys) = scan.next().await? {
                keys.retain(|key| !compared.holds(db, key));
                for batch in keys.chunks(BATCH) {
                    self.only_right(db, origins, batch, &mut found).await?;
                }
            }
        }
        Ok(())
    }

    /// Refuses the result if a cluster changed meanwhile, so that SCAN may have missed keys.
    async fn refuse_changed(&mut self, left: &ConnectOptions, right: &ConnectOptions) -> Result<(), Error> {
        for (key_reader, options) in [(&mut self.left, left), (&mut self.right, right)] {
            if key_reader.changed().await? {
                let changes = vec!["slots or roles moved: compare again".to_owned()];
                return Err(Error::ClusterChanged { target: options.display().to_string(), changes });
            }
        }
        Ok(())
    }

    /// The later of the two clocks: what has expired by one of them may be missing from its server.
    fn now(&self) -> i64 {
        self.left.now().max(self.right.now())
    }

    /// What the right side should have for a key of the left one, which may have expired there by that side's clock.
    fn expected(&self, live: Option<Live>) -> Option<Live> {
        let mut live = live.filter(|live| !self.choice.had_expired(live.expiry, self.left.now()))?;
        live.expiry = self.choice.expiry(live.expiry, self.left.now());
        Some(live)
    }

    /// Compares keys of the left side's selected database with database `db` of the right one.
    async fn compare(&mut self, db: u64, keys: &[Vec<u8>]) -> Result<(), Error> {
        if self.right_reach.is_without(&mut self.right, db, keys.len() as u64).await? {
            return Ok(());
        }
        let new: Vec<(&[u8], Cow<'_, [u8]>)> =
            keys.iter().map(|key| (key.as_slice(), self.choice.name(key))).collect();
        let served: Vec<(&[u8], &[u8])> = new
            .iter()
            .map(|(name, new)| (*name, new.as_ref()))
            .filter(|(_, new)| self.right_reach.serves(new))
            .collect();
        self.right_reach.outside((keys.len() - served.len()) as u64);
        let (names, new): (Vec<&[u8]>, Vec<&[u8]>) = served.into_iter().unzip();
        let (left, right) = futures::try_join!(self.left.look_up(&names), self.right.look_up(&new))?;
        let now = self.now();
        for (((name, new), left), right) in names.iter().zip(&new).zip(left).zip(right) {
            let mut outcome = diff(self.expected(left).as_ref(), right.as_ref(), now);
            if matches!(outcome, KeyOutcome::Different(..)) {
                // Read again: it may have expired or changed between the two queries.
                let (one, other) = ([*name], [*new]);
                let (l, r) = futures::try_join!(self.left.look_up(&one), self.right.look_up(&other))?;
                let (l, r) = (l.into_iter().flatten().next(), r.into_iter().flatten().next());
                outcome = diff(self.expected(l).as_ref(), r.as_ref(), self.now());
            }
            let missing = matches!(outcome, KeyOutcome::Different(DifferenceKind::MissingRight, _));
            if missing && self.left_out.left_out(db, new) {
                self.findings.leave_out();
            } else {
                self.findings.note(db, new, outcome);
            }
        }
        Ok(())
    }

    /// Keys of the right side that correspond to no key of the left one, except those found before. `origins` are the
    /// databases of the left side whose keys belong in this one.
    async fn only_right(
        &mut self,
        db: u64,
        origins: &[u64],
        keys: &[Vec<u8>],
        found: &mut Names,
    ) -> Result<(), Error> {
        let mut missing: Vec<(&[u8], Vec<Vec<u8>>)> = Vec::new();
        for key in keys {
            let names = self.choice.origin_names(key);
            match names.iter().all(|name| self.left_reach.serves(name)) {
                _ if names.is_empty() && self.choice.is_part() => {}
                true => missing.push((key, names)),
                false => self.left_reach.outside(1),
            }
        }
        missing = self.without_origin(origins, missing).await?;
        missing.retain(|(name, _)| found.add(db, name));
        for batch in missing.chunks(BATCH) {
            let names: Vec<&[u8]> = batch.iter().map(|(name, _)| *name).collect();
            let right = self.right.look_up(&names).await?;
            // A key that exists on the left side again was compared before.
            let still = self.without_origin(origins, batch.to_vec()).await?;
            let now = self.now();
            for (name, right) in names.iter().zip(right) {
                if let Some(right) = right.filter(|_| still.iter().any(|(other, _)| other == name)) {
                    self.findings.note(db, name, diff(None, Some(&right), now));
                }
            }
        }
        Ok(())
    }

    /// Those of some keys of the right side that correspond to no key of these databases of the left one.
    async fn without_origin<'k>(
        &mut self,
        origins: &[u64],
        mut keys: Vec<(&'k [u8], Vec<Vec<u8>>)>,
    ) -> Result<Vec<(&'k [u8], Vec<Vec<u8>>)>, Error> {
        for from in origins {
            self.left.select(*from).await?;
            let names: Vec<&[u8]> = keys.iter().flat_map(|(_, names)| names).map(Vec::as_slice).collect();
            let missing_names: BTreeSet<Vec<u8>> =
                self.left.missing(&names).await?.into_iter().map(<[u8]>::to_vec).collect();
            keys.retain(|(_, names)| names.iter().all(|name| missing_names.contains(name)));
        }
        Ok(keys)
    }
}
