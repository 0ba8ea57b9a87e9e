//! Compares a snapshot with the previous one. A backup of a table that was emptied by mistake is intact, and still
//! wrong.

use std::collections::BTreeMap;

use repository::SourceRecord;
use serde::{Deserialize, Serialize};

use crate::config::Kind;
use crate::ui::count;

/// Counts of a source in a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct SourceCounts {
    /// Rows by table (PostgreSQL).
    pub(crate) tables: BTreeMap<String, u64>,
    /// Keys by database (Redis).
    pub(crate) databases: BTreeMap<String, u64>,
    /// Bytes of all parts.
    pub(crate) bytes: u64,
    /// Whether rows or keys are known. They are not for an append-only file alone.
    pub(crate) counted: bool,
    /// Result of the schema baseline check, if there is one.
    pub(crate) baseline_passed: Option<bool>,
}

impl SourceCounts {
    /// The counts in a manifest's record of a source.
    pub(crate) fn of(source: &SourceRecord) -> SourceCounts {
        let details = &source.details;
        let number =
            |value: &serde_json::Value, pointer: &str| value.pointer(pointer).and_then(|n| n.as_u64());
        let tables = details.get("tables").and_then(|tables| tables.as_array()).map(|tables| {
            let rows = |record: &serde_json::Value| {
                let name: pgmove::TableName = serde_json::from_value(record.get("table")?.clone()).ok()?;
                Some((name.to_string(), number(record, "/proof/rows")?))
            };
            tables.iter().filter_map(rows).collect()
        });
        let databases =
            details.get("databases").and_then(|databases| databases.as_object()).map(|databases| {
                databases
                    .iter()
                    .filter_map(|(db, counted)| Some((db.clone(), number(counted, "/keys")?)))
                    .collect()
            });
        SourceCounts {
            counted: match source.kind == Kind::Postgres.as_str() {
                true => tables.is_some(),
                // Commands after the base of an append-only file are not counted.
                false => databases.is_some() && details.get("folder").is_none(),
            },
            tables: tables.unwrap_or_default(),
            databases: databases.unwrap_or_default(),
            bytes: source.parts.iter().map(|part| part.bytes).sum(),
            baseline_passed: details.pointer("/baseline/passed").and_then(serde_json::Value::as_bool),
        }
    }

    /// Total rows.
    pub(crate) fn rows(&self) -> u64 {
        self.tables.values().sum()
    }

    /// Total keys.
    pub(crate) fn keys(&self) -> u64 {
        self.databases.values().sum()
    }

    fn is_empty(&self) -> bool {
        match self.counted {
            true => self.rows() == 0 && self.keys() == 0,
            false => self.bytes == 0,
        }
    }
}

/// Why a snapshot is suspicious.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Suspicion {
    /// The source.
    pub(crate) source: String,
    /// The reason, as one sentence.
    pub(crate) reason: String,
}

/// Limits of what may shrink, and by how much.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits<'a> {
    /// Fraction by which a table or a database may shrink; `None` to allow any.
    pub(crate) shrink: Option<f64>,
    /// Patterns of tables that may shrink.
    pub(crate) except: &'a [String],
}

/// Compares a source with the same source in the previous snapshot.
pub(crate) fn suspicions(
    source: &str,
    before: Option<&SourceCounts>,
    now: &SourceCounts,
    limits: Limits<'_>,
) -> Vec<Suspicion> {
    let mut reasons = Vec::new();
    if now.is_empty() {
        let held = before.filter(|before| !before.is_empty()).map(|before| {
            let (rows, keys) = (before.rows(), before.keys());
            let (number, unit) = if rows > 0 { (rows, "rows") } else { (keys, "keys") };
            format!("; the previous snapshot had {} {unit}", count(number))
        });
        reasons.push(format!("nothing was read from it{}", held.unwrap_or_default()));
    } else if let (Some(before), Some(share)) = (before, limits.shrink)
        && before.counted
        && now.counted
    {
        let left = |before: u64| before as f64 * (1.0 - share);
        for (table, held) in &before.tables {
            let holds = now.tables.get(table).copied();
            let excepted = limits.except.iter().any(|pattern| matches(pattern, table));
            if excepted || *held == 0 || holds.unwrap_or(0) as f64 >= left(*held) {
                continue;
            }
            reasons.push(match holds {
                Some(holds) => {
                    format!("table `{table}` shrank from {} to {} rows", count(*held), count(holds))
                }
                None => format!("table `{table}` is missing, which had {} rows", count(*held)),
            });
        }
        for (db, held) in &before.databases {
            let holds = now.databases.get(db).copied().unwrap_or(0);
            if *held > 0 && (holds as f64) < left(*held) {
                reasons.push(format!("database {db} shrank from {} to {} keys", count(*held), count(holds)));
            }
        }
    }
    if now.baseline_passed == Some(false) {
        reasons.push("the schema does not meet its baseline".to_owned());
    }
    reasons.into_iter().map(|reason| Suspicion { source: source.to_owned(), reason }).collect()
}

/// Whether a pattern matches a table, with or without its schema; `*` matches any characters and `?` one.
fn matches(pattern: &str, table: &str) -> bool {
    let bare = table.split_once('.').map(|(_, name)| name);
    glob(pattern.as_bytes(), table.as_bytes())
        || (!pattern.contains('.') && bare.is_some_and(|bare| glob(pattern.as_bytes(), bare.as_bytes())))
}

/// Runs in the product of both lengths, whatever the pattern.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut position) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(position) {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, position));
                at += 1;
            }
            Some(wanted) if *wanted == b'?' || wanted == byte => {
                at += 1;
                position += 1;
            }
            _ => match star {
                Some((behind, from)) => {
                    star = Some((behind, from + 1));
                    at = behind + 1;
                    position = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(rows: &[(&str, u64)]) -> SourceCounts {
        let tables = rows.iter().map(|(name, rows)| ((*name).to_owned(), *rows)).collect();
        SourceCounts { tables, counted: true, bytes: 100, ..SourceCounts::default() }
    }

    fn reasons_for(before: Option<&SourceCounts>, now: &SourceCounts, except: &[&str]) -> Vec<String> {
        let except: Vec<String> = except.iter().map(|pattern| (*pattern).to_owned()).collect();
        let limits = Limits { shrink: Some(0.5), except: &except };
        suspicions("s", before, now, limits).into_iter().map(|suspicion| suspicion.reason).collect()
    }

    #[test]
    fn what_shrank_by_more_than_half_is_suspicious_and_half_is_not() {
        let before = tables(&[("public.a", 100), ("public.b", 10), ("public.empty", 0)]);
        assert!(reasons_for(Some(&before), &tables(&[("public.a", 50), ("public.b", 5)]), &[]).is_empty());
        let now = tables(&[("public.a", 49), ("public.new", 1)]);
        let all = reasons_for(Some(&before), &now, &[]);
        assert_eq!(
            all,
            ["table `public.a` shrank from 100 to 49 rows", "table `public.b` is missing, which had 10 rows"]
        );
        assert_eq!(reasons_for(Some(&before), &now, &["a"]).len(), 1);
        assert!(
            reasons_for(Some(&before), &now, &["public.?"]).is_empty()
                && reasons_for(None, &now, &[]).is_empty()
        );
        let off = Limits { shrink: None, except: &[] };
        assert!(suspicions("s", Some(&before), &now, off).is_empty());
    }

    #[test]
    fn an_empty_first_snapshot_is_suspicious() {
        let before = tables(&[("public.a", 100)]);
        let now = tables(&[("public.a", 0)]);
        assert_eq!(
            reasons_for(Some(&before), &now, &[]),
            ["nothing was read from it; the previous snapshot had 100 rows"]
        );
        assert_eq!(reasons_for(None, &now, &[]), ["nothing was read from it"]);
    }

    #[test]
    fn keys_are_counted_by_database_and_a_baseline_counts_always() {
        let keys = |number: u64| SourceCounts {
            databases: BTreeMap::from([("0".to_owned(), number), ("1".to_owned(), 1000)]),
            counted: true,
            ..SourceCounts::default()
        };
        assert_eq!(reasons_for(Some(&keys(100)), &keys(1), &[]), ["database 0 shrank from 100 to 1 keys"]);
        let failed = SourceCounts { baseline_passed: Some(false), ..tables(&[("t", 1)]) };
        assert_eq!(reasons_for(Some(&failed), &failed, &[]), ["the schema does not meet its baseline"]);
        // An append-only file is not counted, so nothing is concluded.
        let file = SourceCounts { bytes: 5, ..SourceCounts::default() };
        assert!(reasons_for(Some(&keys(100)), &file, &[]).is_empty());
    }

    #[test]
    fn patterns_do_not_blow_up() {
        assert!(glob(b"a*b*c", b"aXbYc") && !glob(b"a*b", b"aXc") && glob(b"*", b"") && !glob(b"?", b""));
        assert!(!glob(b"*a*a*a*a*a*a*a*b", &[b'a'; 10_000]));
    }
}
