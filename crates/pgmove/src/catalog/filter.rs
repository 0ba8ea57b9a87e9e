//! Which part of a database is wanted.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::meta::QualifiedName;

/// Patterns that choose schemas and tables. `*` stands for any run of characters and `?` for one; everything else
/// stands for itself, case included. A table pattern is `table` (in any schema) or `schema.table`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Filter {
    /// Only objects of these schemas.
    pub schemas: Vec<String>,
    /// No objects of these schemas.
    pub exclude_schemas: Vec<String>,
    /// Only these tables, and no objects other than tables and what belongs to them.
    pub tables: Vec<String>,
    /// Not these tables.
    pub exclude_tables: Vec<String>,
    /// The definition of these tables, without their rows.
    pub exclude_table_data: Vec<String>,
    /// Only some rows of these tables: the condition by the table's pattern, as it stands after WHERE.
    #[serde(rename = "where", skip_serializing_if = "BTreeMap::is_empty")]
    pub conditions: BTreeMap<String, String>,
}

impl Filter {
    /// Whether everything is wanted.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// The condition on the rows of a table, where there is one.
    pub fn condition(&self, name: &QualifiedName) -> Option<&str> {
        self.conditions
            .iter()
            .find(|(pattern, _)| names(std::slice::from_ref(*pattern), name))
            .map(|(_, condition)| condition.as_str())
    }

    /// This filter on what another one has let pass: tables without rows stay without, and rows that were left out
    /// are still gone.
    pub(crate) fn after(&self, before: &Filter) -> Filter {
        let mut both = self.clone();
        both.exclude_table_data.extend(before.exclude_table_data.iter().cloned());
        both.conditions.extend(before.conditions.clone());
        both
    }

    /// Patterns that ask for something, and match none of these tables: most often a misspelling, which would else
    /// pass for a table that is empty or all there.
    pub fn unmatched<'a>(&self, tables: impl Iterator<Item = &'a QualifiedName> + Clone) -> Vec<String> {
        let mut unmatched = Vec::new();
        for pattern in self.tables.iter().chain(&self.exclude_table_data).chain(self.conditions.keys()) {
            if !tables.clone().any(|name| names(std::slice::from_ref(pattern), name)) {
                unmatched.push(format!("no table matches `{pattern}`"));
            }
        }
        for pattern in &self.schemas {
            if !tables.clone().any(|name| glob(pattern, &name.schema)) {
                unmatched.push(format!("no schema with tables matches `{pattern}`"));
            }
        }
        unmatched
    }

    /// Whether objects of a schema are wanted.
    pub fn wants_schema(&self, schema: &str) -> bool {
        let listed = |patterns: &[String]| patterns.iter().any(|pattern| glob(pattern, schema));
        (self.schemas.is_empty() || listed(&self.schemas)) && !listed(&self.exclude_schemas)
    }

    /// Whether a table or view is wanted.
    pub fn wants_table(&self, name: &QualifiedName) -> bool {
        self.wants_schema(&name.schema)
            && (self.tables.is_empty() || names(&self.tables, name))
            && !names(&self.exclude_tables, name)
    }

    /// Whether large objects are wanted: they belong to no schema and no table, so that who asks for some of these
    /// does not mean them.
    pub fn wants_large_objects(&self) -> bool {
        self.schemas.is_empty() && self.tables.is_empty()
    }

    /// Whether the rows of a table are wanted.
    pub fn wants_rows(&self, name: &QualifiedName) -> bool {
        self.wants_table(name) && !names(&self.exclude_table_data, name)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = Vec::new();
        for (what, patterns) in [
            ("schemas", &self.schemas),
            ("without schemas", &self.exclude_schemas),
            ("tables", &self.tables),
            ("without tables", &self.exclude_tables),
            ("without rows of", &self.exclude_table_data),
        ] {
            if !patterns.is_empty() {
                said.push(format!("{what} {}", patterns.join(", ")));
            }
        }
        said.extend(self.conditions.iter().map(|(table, condition)| format!("{table} where {condition}")));
        f.write_str(&if said.is_empty() { "everything".to_owned() } else { said.join("; ") })
    }
}

/// Whether one of the patterns means the table.
fn names(patterns: &[String], name: &QualifiedName) -> bool {
    let full = format!("{}.{}", name.schema, name.name);
    patterns.iter().any(|pattern| glob(pattern, &name.name) || glob(pattern, &full))
}

/// Matches `text` with `*` and `?`. The usual backtracking over the last star: linear memory, no recursion.
fn glob(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some('?') => {
                p += 1;
                t += 1;
            }
            Some(c) if Some(c) == text.get(t) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|c| *c == '*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_names() {
        for (pattern, text, expected) in [
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a?c", "abc", true),
            ("a?c", "abbc", false),
            ("*b*", "abc", true),
            ("", "", true),
            ("*", "", true),
            ("A*", "abc", false),
            ("a*b*c", "a1b2b3c", true),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn a_table_pattern_may_name_its_schema() {
        let filter = Filter { exclude_table_data: vec!["public.log_*".into()], ..Filter::default() };
        assert!(!filter.wants_rows(&QualifiedName::new("public", "log_2026")));
        assert!(filter.wants_rows(&QualifiedName::new("other", "log_2026")));
        assert!(filter.wants_table(&QualifiedName::new("public", "log_2026")));
    }
}
