//! Key selection flags of restore, migrate and compare: which Redis keys, and how they are renamed and expire.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, ValueEnum};
use redisdump::{Expiries, KeyChoice};

use crate::exit;

/// Key selection, and changes to databases, names and expiries.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Redis keys")]
pub(super) struct RedisKeyArgs {
    /// Include only this database, or restore the keys of one database into another; may be repeated
    #[arg(long, value_name = "N|FROM=TO")]
    db: Vec<String>,
    /// Include only keys that match this pattern (as for KEYS); may be repeated
    ///
    /// A pattern or database without any key is an error.
    #[arg(long, value_name = "PATTERN")]
    key: Vec<String>,
    /// Exclude keys that match this pattern; may be repeated
    #[arg(long, value_name = "PATTERN")]
    exclude_key: Vec<String>,
    /// Replace a prefix of key names; may be repeated, the first match counts
    ///
    /// --key and --exclude-key match the old names. Two keys that would get the same name are refused.
    #[arg(long, value_name = "PREFIX=NEW")]
    rename: Vec<String>,
    /// Change the expiries of keys: keep, drop, or +SECONDS to expire that much later [default: keep]
    ///
    /// Keys that had expired when the source was read are left out. Expiries of hash fields are kept.
    #[arg(long, value_name = "keep|drop|+SECONDS")]
    ttl: Option<String>,
    /// What to do with the expiries of hash fields
    ///
    /// Use drop for servers that know none, before Redis 7.4 and Valkey 9. The affected hashes are counted and listed.
    #[arg(long, value_name = "POLICY", default_value = "keep")]
    field_ttl: FieldTtl,
}

/// What to do with the expiries of hash fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum FieldTtl {
    /// Keep them
    #[default]
    Keep,
    /// Restore the fields without expiries
    Drop,
}

impl RedisKeyArgs {
    /// The selection that the flags describe; all keys, unchanged, if no flag is given.
    pub(super) fn choice(&self) -> anyhow::Result<KeyChoice> {
        let (mut databases, mut only) = (BTreeMap::new(), BTreeSet::new());
        for text in &self.db {
            if let Ok(db) = text.parse::<u64>() {
                only.insert(db);
                continue;
            }
            let pair =
                text.split_once('=').and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
            let Some((from, to)) = pair else {
                return Err(exit::usage(format!(
                    "--db expects a database number or FROM=TO, two of them, got `{text}`"
                )));
            };
            if databases.insert(from, to).is_some_and(|other| other != to) {
                return Err(exit::usage(format!("--db maps database {from} to two others")));
            }
        }
        if !only.is_empty() {
            only.extend(databases.keys());
        }
        let mut rename = Vec::new();
        for text in &self.rename {
            match text.split_once('=') {
                Some((prefix, new)) => rename.push((prefix.to_owned(), new.to_owned())),
                None => return Err(exit::usage(format!("--rename expects PREFIX=NEW, got `{text}`"))),
            }
        }
        Ok(KeyChoice {
            include: self.key.clone(),
            exclude: self.exclude_key.clone(),
            databases,
            only,
            rename,
            expiries: expiries(self.ttl.as_deref())?,
            drop_field_expiries: self.field_ttl == FieldTtl::Drop,
        })
    }
}

fn expiries(ttl: Option<&str>) -> anyhow::Result<Expiries> {
    let text = match ttl {
        None | Some("keep") => return Ok(Expiries::Keep),
        Some("drop") => return Ok(Expiries::Drop),
        Some(text) => text,
    };
    let seconds = text.strip_prefix('+').and_then(|seconds| seconds.parse::<u64>().ok());
    let later = seconds.and_then(|seconds| seconds.checked_mul(1000)).filter(|later| *later < 1 << 60);
    match later {
        Some(later) => Ok(Expiries::Later(later)),
        None => Err(exit::usage(format!("--ttl expects keep, drop or +SECONDS, got `{text}`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_a_choice() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let args = RedisKeyArgs {
            db: texts(&["3", "1=2"]),
            rename: texts(&["a=b=c", "=x"]),
            ..RedisKeyArgs::default()
        };
        let choice = args.choice().unwrap();
        assert_eq!((choice.only, choice.databases), ([1, 3].into(), [(1, 2)].into()));
        assert_eq!(choice.rename, [("a".to_owned(), "b=c".to_owned()), (String::new(), "x".to_owned())]);
        for (ttl, expected) in
            [("keep", Expiries::Keep), ("drop", Expiries::Drop), ("+60", Expiries::Later(60_000))]
        {
            assert_eq!(expiries(Some(ttl)).unwrap(), expected);
        }
        for wrong in ["60", "-60", "+x", "+18446744073709551615", ""] {
            assert!(expiries(Some(wrong)).is_err(), "{wrong}");
        }
        for wrong in ["x", "1=x", "-1"] {
            assert!(RedisKeyArgs { db: texts(&[wrong]), ..RedisKeyArgs::default() }.choice().is_err());
        }
        assert!(RedisKeyArgs { rename: texts(&["x"]), ..RedisKeyArgs::default() }.choice().is_err());
    }
}
