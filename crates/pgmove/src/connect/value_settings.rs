//! The settings under which a source evaluates its own expressions.
//!
//! The text of values on the wire is pinned ([`crate::connect::session`]), so that equal values have equal text. But
//! the results of CHECK constraints, generated columns, index expressions, partition keys and materialized views depend
//! on the session too: `at::date` is a different day in another time zone. Those expressions are evaluated under the
//! source's settings: the combination of what its server, its database and the reading role define.
//!
//! | setting | rows and indexes | materialized views | text of rows |
//! |---|---|---|---|
//! | `TimeZone`, `DateStyle`, `IntervalStyle`, `extra_float_digits`, `bytea_output` | source's | source's | pinned when written; reading does not depend on them |
//! | `default_text_search_config`, `lc_numeric`, `lc_time`, `xmlbinary`, `timezone_abbreviations`, settings with a dot | source's | source's | no effect |
//! | `lc_monetary`, `xmloption`, `array_nulls` | pinned: they decide how the text of rows is read | source's | pinned |
//!
//! `standard_conforming_strings`, `transform_null_equals` and `search_path` stay pinned everywhere, because they decide
//! how statements are parsed.

use std::collections::BTreeMap;

use crate::Error;
use crate::catalog::database::{DatabaseInfo, VALUE_SETTINGS};
use crate::connect::{Session, pinned};
use crate::quote::literal;
use crate::warning::Warning;

/// They decide how the text of rows, and of constants in statements, is parsed.
const READING: [&str; 3] = ["array_nulls", "lc_monetary", "xmloption"];

/// They decide how values are written.
const WRITING: [&str; 5] = ["DateStyle", "IntervalStyle", "TimeZone", "bytea_output", "extra_float_digits"];

/// A source's settings by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ValueSettings(BTreeMap<String, String>);

impl ValueSettings {
    /// The settings in a catalog. The first catalog version recorded only settings of the database.
    pub(crate) fn of(info: &DatabaseInfo) -> ValueSettings {
        if !info.value_settings.is_empty() {
            return ValueSettings(info.value_settings.clone());
        }
        let own = info.settings.iter().filter(|setting| setting.role.is_none());
        let pairs = own.flat_map(|setting| &setting.config).filter_map(|pair| pair.split_once('='));
        ValueSettings(
            pairs
                .filter(|(name, _)| VALUE_SETTINGS.contains(name))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    /// Splits the settings into those that this server accepts and warnings about the others. The session's settings
    /// are unchanged afterwards.
    pub(crate) async fn accepted(self, session: &Session) -> Result<(ValueSettings, Vec<Warning>), Error> {
        let (mut accepted, mut refused) = (BTreeMap::new(), Vec::new());
        for (name, value) in self.0 {
            match session.execute("a setting of the source", &set(&name, &value, false)).await {
                Ok(()) => {
                    accepted.insert(name, value);
                }
                // The value of a custom setting may be a secret: do not show it.
                Err(Error::Server { message, .. }) if VALUE_SETTINGS.contains(&name.as_str()) => {
                    refused.push(Warning::SettingRejected { name, value, message });
                }
                Err(error @ Error::Server { .. }) if !error.is_lost() => {
                    refused.push(Warning::CustomSettingRejected { name });
                }
                Err(error) => return Err(error),
            }
        }
        let accepted = ValueSettings(accepted);
        session.execute("the session's settings", &accepted.undo()).await?;
        Ok((accepted, refused))
    }

    /// Statements for a session that loads rows and builds indexes and constraints on them.
    pub(crate) fn for_rows(&self) -> String {
        self.assigned(false, |name| !READING.contains(&name))
    }

    /// Statements for a session that refreshes materialized views.
    pub(crate) fn for_views(&self) -> String {
        self.assigned(false, |_| true)
    }

    /// Statements that pin the session again.
    pub(crate) fn undo(&self) -> String {
        let one = |name: &String| match pinned(name) {
            Some(value) => format!("SET {name} = {value};"),
            None => {
                format!("SELECT pg_catalog.set_config({0}, {1}, false);", literal(name), default_of(name))
            }
        };
        self.0.keys().map(one).collect()
    }

    /// Statements for a transaction that reads rows chosen by a user-defined condition.
    pub(crate) fn for_condition(&self) -> String {
        self.assigned(true, |_| true)
    }

    /// The same as lines of a script, without custom settings.
    pub(crate) fn as_script(&self, views: bool) -> String {
        let wanted = self.0.iter().filter(|(name, _)| {
            VALUE_SETTINGS.contains(&name.as_str()) && (views || !READING.contains(&name.as_str()))
        });
        wanted.map(|(name, value)| set(name, value, false) + "\n").collect()
    }

    fn assigned(&self, local: bool, wanted: impl Fn(&str) -> bool) -> String {
        self.0.iter().filter(|(name, _)| wanted(name)).map(|(name, value)| set(name, value, local)).collect()
    }

    /// Two conditions that are always true, for a query that both evaluates a condition and writes rows: the first
    /// applies the source's settings, the second those under which values are written. `None` if they do not differ.
    /// `money` tells whether the rows may contain values of type `money`.
    pub(crate) fn switches(&self, money: bool) -> Option<(String, String)> {
        let matters = |name: &str| WRITING.contains(&name) || (money && name == "lc_monetary");
        let differing: Vec<(&String, &String, &str)> = self
            .0
            .iter()
            .filter(|(name, _)| matters(name))
            .filter_map(|(name, value)| Some((name, value, pinned(name)?)))
            .filter(|(name, value, pinned)| !same(name, value, pinned))
            .collect();
        let all = |value: &dyn Fn(&(&String, &String, &str)) -> String| {
            let one = |setting: &(&String, &String, &str)| {
                format!("pg_catalog.set_config({}, {}, true) IS NOT NULL", literal(setting.0), value(setting))
            };
            differing.iter().map(one).collect::<Vec<_>>().join(" AND ")
        };
        (!differing.is_empty())
            .then(|| (all(&|(_, value, _)| literal(value)), all(&|(_, _, pinned)| quoted(pinned))))
    }
}

/// The value of a setting at the start of a session, as an expression.
fn default_of(name: &str) -> String {
    let known = format!("(SELECT reset_val FROM pg_catalog.pg_settings WHERE name = {})", literal(name));
    format!("coalesce({known}, '')")
}

fn set(name: &str, value: &str, local: bool) -> String {
    format!("SELECT pg_catalog.set_config({}, {}, {local});", literal(name), literal(value))
}

/// A pinned value as a string literal; keywords in a `SET` are unquoted.
fn quoted(pinned: &str) -> String {
    if pinned.starts_with('\'') { pinned.to_owned() } else { literal(pinned) }
}

/// Whether two values produce the same text. From PostgreSQL 12 on, all positive values of `extra_float_digits` do.
fn same(name: &str, value: &str, pinned: &str) -> bool {
    match name {
        "extra_float_digits" => value.parse::<i32>().is_ok_and(|digits| digits > 0),
        _ => value.eq_ignore_ascii_case(pinned.trim_matches('\'')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> ValueSettings {
        ValueSettings(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn only_what_differs_is_switched_row_by_row() {
        let usual = [
            ("TimeZone", "UTC"),
            ("extra_float_digits", "1"),
            ("lc_monetary", "de_DE"),
            ("xmloption", "document"),
        ];
        assert_eq!(settings(&usual).switches(false), None);
        let (on, off) =
            settings(&[("TimeZone", "Asia/Seoul"), ("lc_monetary", "de_DE")]).switches(true).unwrap();
        assert_eq!(
            on,
            "pg_catalog.set_config('TimeZone', 'Asia/Seoul', true) IS NOT NULL AND \
             pg_catalog.set_config('lc_monetary', 'de_DE', true) IS NOT NULL"
        );
        assert!(off.contains("'UTC'") && off.contains("'lc_monetary', 'C'"), "{off}");
    }

    #[test]
    fn what_decides_how_rows_are_read_stays_pinned_for_them() {
        let all = settings(&[("TimeZone", "Asia/Seoul"), ("lc_monetary", "de_DE"), ("app.tenant", "it's")]);
        assert!(!all.for_rows().contains("lc_monetary") && all.for_views().contains("lc_monetary"));
        assert!(all.for_rows().contains("set_config('app.tenant', 'it''s', false)"));
        assert!(!all.as_script(true).contains("app.tenant"));
        assert!(all.undo().contains("SET TimeZone = 'UTC';"));
    }

    #[test]
    fn a_catalog_of_the_first_versions_knows_what_was_set_for_the_database() {
        let info: DatabaseInfo = serde_json::from_value(serde_json::json!({
            "oid": 1, "name": "d", "encoding": "UTF8", "collate": "C", "ctype": "C", "locale_provider": "libc",
            "is_template": false, "connection_limit": -1,
            "settings": [
                { "config": ["TimeZone=Asia/Seoul", "work_mem=1MB"] },
                { "role": "r", "config": ["DateStyle=German"] }
            ]
        }))
        .unwrap();
        assert_eq!(ValueSettings::of(&info), settings(&[("TimeZone", "Asia/Seoul")]));
    }
}
