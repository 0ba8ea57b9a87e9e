//! Ranges of keys, and the statements that digest or list their rows.

use std::fmt::Write as _;

use super::key::{Key, KeyValue};

/// Rows with keys greater than `after`, up to and including `to`. `None` means no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) after: Option<KeyValue>,
    pub(super) to: Option<KeyValue>,
    /// Approximate number of rows on both sides.
    pub(super) rows: u64,
}

/// Up to this many ranges are listed one by one in a statement; of more, only the beginning of the first and the end
/// of the last.
const NAMED: usize = 24;

/// A relation that is read in ranges.
#[derive(Debug)]
pub(super) struct Relation {
    /// The FROM clause.
    pub(super) from: String,
    pub(super) key: Key,
    /// The columns of the rows, as a select list.
    pub(super) columns: String,
}

/// Name of the column with the range's number, which no user table has.
const NUMBER: &str = "\"dbhaul: range\"";

impl Relation {
    /// Selects rows with the number of their range first; rows outside of all ranges are left out. The ranges are in
    /// order.
    pub(super) fn rows(&self, ranges: &[Range], with_keys: bool) -> String {
        let keys = match with_keys {
            true => format!("{}, ", self.key.list()),
            false => String::new(),
        };
        self.numbered(ranges, &format!("{keys}{}", self.columns), "")
    }

    /// Selects approximately this many keys of each range, in order, with the number of the range first.
    pub(super) fn sample(&self, ranges: &[Range], wanted: u64) -> String {
        let rows = ranges.iter().map(|range| range.rows / 2).max().unwrap_or(0).max(1);
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let share = wanted as f64 / rows as f64;
        let condition = match share < 1.0 {
            true => format!("pg_catalog.random() < {share:.9}"),
            false => String::new(),
        };
        let order: Vec<String> = (2..2 + self.key.len()).map(|at| at.to_string()).collect();
        format!("{} ORDER BY {}", self.numbered(ranges, &self.key.list(), &condition), order.join(", "))
    }

    fn numbered(&self, ranges: &[Range], list: &str, condition: &str) -> String {
        let mut conditions = vec![self.within(ranges)];
        conditions.push(condition.to_owned());
        conditions.retain(|condition| !condition.is_empty());
        let condition = match conditions.is_empty() {
            true => String::new(),
            false => format!(" WHERE {}", conditions.join(" AND ")),
        };
        format!(
            "SELECT q.* FROM (SELECT {} AS {NUMBER}, {list} FROM {}{condition}) q WHERE {NUMBER} >= 0",
            self.number(ranges),
            self.from
        )
    }

    fn within(&self, ranges: &[Range]) -> String {
        let one = |after: &Option<KeyValue>, to: &Option<KeyValue>| {
            let after = after.as_ref().map(|key| self.key.after(key));
            let to = to.as_ref().map(|key| self.key.up_to(key));
            let both: Vec<String> = after.into_iter().chain(to).collect();
            both.join(" AND ")
        };
        let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else { return String::new() };
        if ranges.len() > NAMED {
            return one(&first.after, &last.to);
        }
        let all: Vec<String> = ranges.iter().map(|range| one(&range.after, &range.to)).collect();
        match all.iter().any(String::is_empty) {
            true => String::new(),
            false => {
                format!("({})", all.iter().map(|one| format!("({one})")).collect::<Vec<_>>().join(" OR "))
            }
        }
    }

    /// An expression for the number of the range that contains a row, or -1.
    fn number(&self, ranges: &[Range]) -> String {
        // Each entry: rows up to this key, after the previous entry's, have this number.
        let mut cuts: Vec<(Option<&KeyValue>, i64)> = Vec::new();
        let mut at: Option<&KeyValue> = None;
        for (number, range) in (0..).zip(ranges) {
            if range.after.as_ref() != at {
                cuts.push((range.after.as_ref(), -1));
            }
            cuts.push((range.to.as_ref(), number));
            at = range.to.as_ref();
        }
        if at.is_some() {
            cuts.push((None, -1));
        }
        let mut sql = String::new();
        self.pick(&cuts, &mut sql);
        sql
    }

    fn pick(&self, cuts: &[(Option<&KeyValue>, i64)], sql: &mut String) {
        let (before, from) = cuts.split_at(cuts.len() / 2);
        match (before.last(), from) {
            (Some((Some(key), _)), _) => {
                let _ = write!(sql, "CASE WHEN {} THEN ", self.key.up_to(key));
                self.pick(before, sql);
                sql.push_str(" ELSE ");
                self.pick(from, sql);
                sql.push_str(" END");
            }
            (_, [(_, number), ..]) => {
                let _ = write!(sql, "{number}");
            }
            _ => sql.push_str("-1"),
        }
    }
}
