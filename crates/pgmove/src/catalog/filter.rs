//! Which part of a database is wanted.

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
}

impl Filter {
    /// Whether everything is wanted.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
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
