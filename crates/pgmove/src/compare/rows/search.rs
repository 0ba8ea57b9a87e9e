//! Searches for differing rows: ranges of keys are digested on both sides, and those that differ are split, until
//! their rows can be compared directly.
//!
//! Each round reads, on each side, the rows of the differing ranges in one statement; an index on the key is used if
//! it has the key's order. A differing range contains at least one differing row, so the first N of them contain the
//! first N rows.

use std::collections::{BTreeSet, HashMap};

use xxhash_rust::xxh3::xxh3_128;

use super::cell::Cell;
use super::copy_text;
use super::key::{Key, KeyValue};
use super::ranges::{Range, Relation};
use super::{DifferingRow, SearchResult};
use crate::Error;
use crate::digest::{RowHasher, TableProof};
use crate::dump::Source;

/// Maximum number of rows to show of a table.
pub(super) const MOST_SHOWN: usize = 1000;

/// Ranges with at most this many rows on both sides together are read row by row: more than two for each row to show,
/// so that ranges can always be split until they fit.
const ROWS_AT_ONCE: u64 = 4096;

/// Number of ranges to digest in one round.
const RANGES: usize = 1024;

/// Maximum number of ranges into which one is split.
const PARTS: usize = 64;

/// Number of keys to sample for each resulting range.
const SAMPLE: usize = 16;

/// More rounds than any table needs, to guarantee termination.
const ROUNDS: usize = 40;

/// The values of a key's expressions in a row.
type KeyBytes = Vec<Vec<u8>>;

/// A side to search.
pub(super) struct Searched<'a> {
    pub(super) source: &'a Source,
    pub(super) relation: Relation,
}

/// The first differing rows, at most `show`.
pub(super) async fn search(
    object: &str,
    (left, right): (&Searched<'_>, &Searched<'_>),
    columns: &[String],
    rows: u64,
    show: usize,
) -> Result<SearchResult, Error> {
    let mut ranges = vec![Range { after: None, to: None, rows }];
    let mut more = false;
    for _ in 0..ROUNDS {
        if ranges.iter().map(|range| range.rows).sum::<u64>() <= ROWS_AT_ONCE {
            break;
        }
        let parts = cut(object, left, right, &ranges, show).await?;
        let (one, other) = futures::try_join!(left.digests(object, &parts), right.digests(object, &parts))?;
        let differing =
            parts.into_iter().zip(one.iter().zip(&other)).filter(|(_, (one, other))| one != other);
        ranges = differing
            .map(|(range, (one, other))| Range { rows: one.rows.saturating_add(other.rows), ..range })
            .collect();
        more |= ranges.len() > show;
        ranges.truncate(show);
        // A few ranges are enough to continue with; the first ones.
        let mut sum = 0_u64;
        let fits = ranges.iter().take_while(|range| {
            sum = sum.saturating_add(range.rows);
            sum <= ROWS_AT_ONCE
        });
        let fits = fits.count();
        if fits > 0 && fits < ranges.len() {
            let found = rows_of(object, (left, right), &ranges, fits, columns).await?;
            if found.len() >= show {
                ranges.truncate(fits);
                more = true;
                break;
            }
        }
    }
    // A range whose keys are all equal cannot be split: the unique index is damaged.
    if ranges.iter().map(|range| range.rows).sum::<u64>() > 4 * ROWS_AT_ONCE {
        return Ok(SearchResult { rows: Vec::new(), more: true });
    }
    let all = ranges.len();
    let mut found = rows_of(object, (left, right), &ranges, all, columns).await?;
    more |= found.len() > show;
    found.truncate(show);
    Ok(SearchResult { rows: found, more })
}

/// Splits the ranges at keys of the side with more rows.
async fn cut(
    object: &str,
    left: &Searched<'_>,
    right: &Searched<'_>,
    ranges: &[Range],
    show: usize,
) -> Result<Vec<Range>, Error> {
    let parts = (RANGES / ranges.len().max(1)).clamp(2, PARTS.max(show.min(RANGES)));
    let mut cuts: HashMap<usize, Vec<KeyValue>> = HashMap::new();
    for (number, key) in left.sample(object, ranges, parts.saturating_mul(SAMPLE)).await? {
        cuts.entry(number).or_default().push(key);
    }
    // If the left side has no rows, use the right side's keys.
    let lacking = |at: usize, range: &Range| range.rows > 1 && !cuts.contains_key(&at);
    let lacking: BTreeSet<usize> =
        ranges.iter().enumerate().filter(|(at, range)| lacking(*at, range)).map(|(at, _)| at).collect();
    if !lacking.is_empty() {
        for (number, key) in right.sample(object, ranges, parts.saturating_mul(SAMPLE)).await? {
            if lacking.contains(&number) {
                cuts.entry(number).or_default().push(key);
            }
        }
    }
    let mut out = Vec::new();
    for (at, range) in ranges.iter().enumerate() {
        let keys = cuts.remove(&at).unwrap_or_default();
        let step = keys.len().div_ceil(parts).max(1);
        let mut after = range.after.clone();
        for key in keys.into_iter().skip(step / 2).step_by(step) {
            if Some(&key) == after.as_ref() || Some(&key) == range.to.as_ref() {
                continue;
            }
            out.push(Range { after, to: Some(key.clone()), rows: range.rows });
            after = Some(key);
        }
        out.push(Range { after, to: range.to.clone(), rows: range.rows });
    }
    Ok(out)
}

impl Searched<'_> {
    async fn digests(&self, object: &str, ranges: &[Range]) -> Result<Vec<TableProof>, Error> {
        let mut hashers: Vec<RowHasher> = ranges.iter().map(|_| RowHasher::default()).collect();
        let query = self.relation.rows(ranges, false);
        self.source
            .stream_query(object, &query, &mut |row| {
                if let Some((number, row)) = numbered(row)
                    && let Some(hasher) = hashers.get_mut(number)
                {
                    hasher.update(row);
                    hasher.update(b"\n");
                }
            })
            .await?;
        Ok(hashers.iter().map(RowHasher::proof).collect())
    }

    async fn sample(
        &self,
        object: &str,
        ranges: &[Range],
        wanted: usize,
    ) -> Result<Vec<(usize, KeyValue)>, Error> {
        let query = self.relation.sample(ranges, wanted as u64);
        let rows = self.source.query(object, &query).await?;
        let key = |row: Vec<Option<String>>| {
            let mut values = row.into_iter();
            let number = values.next()??.parse().ok()?;
            Some((number, values.collect::<Option<KeyValue>>()?))
        };
        Ok(rows.into_iter().filter_map(key).collect())
    }

    /// Calls `each` with the key, the columns' fields and the hash of every row in the ranges.
    async fn list(
        &self,
        object: &str,
        ranges: &[Range],
        each: &mut (dyn FnMut(KeyBytes, &[u8]) + Send),
    ) -> Result<(), Error> {
        let width = self.relation.key.len();
        self.source
            .stream_query(object, &self.relation.rows(ranges, true), &mut |row| {
                let Some((_, row)) = numbered(row) else { return };
                let mut rest = row;
                let mut key = Vec::with_capacity(width);
                for field in copy_text::fields(row).take(width) {
                    rest = rest.get(field.len() + 1..).unwrap_or_default();
                    key.push(copy_text::value(field).unwrap_or_default().into_owned());
                }
                each(key, rest);
            })
            .await
    }
}

fn numbered(row: &[u8]) -> Option<(usize, &[u8])> {
    let at = memchr::memchr(b'\t', row)?;
    let number = std::str::from_utf8(row.get(..at)?).ok()?.parse().ok()?;
    Some((number, row.get(at + 1..)?))
}

/// The rows of the first differing ranges, in the order of their keys.
async fn rows_of(
    object: &str,
    (left, right): (&Searched<'_>, &Searched<'_>),
    ranges: &[Range],
    first: usize,
    columns: &[String],
) -> Result<Vec<DifferingRow>, Error> {
    let Some(ranges) = ranges.get(..first).filter(|ranges| !ranges.is_empty()) else { return Ok(Vec::new()) };
    let width = columns.len();
    let mut unmatched: HashMap<KeyBytes, (u128, Vec<Cell>)> = HashMap::new();
    left.list(object, ranges, &mut |key, row| {
        unmatched.insert(key, (xxh3_128(row), Cell::row(copy_text::fields(row), width)));
    })
    .await?;
    let mut pairs: Vec<(KeyBytes, [Option<Vec<Cell>>; 2])> = Vec::new();
    right
        .list(object, ranges, &mut |key, row| match unmatched.remove(&key) {
            Some((hash, _)) if hash == xxh3_128(row) => {}
            other => {
                let left = other.map(|(_, cells)| cells);
                pairs.push((key, [left, Some(Cell::row(copy_text::fields(row), width))]));
            }
        })
        .await?;
    pairs.extend(unmatched.into_iter().map(|(key, (_, cells))| (key, [Some(cells), None])));
    let key: &Key = &left.relation.key;
    pairs.sort_by(|one, other| key.order(&one.0, &other.0));
    Ok(pairs
        .into_iter()
        .map(|(_, [left, right])| DifferingRow::new(&key.columns, columns, left, right))
        .collect())
}
