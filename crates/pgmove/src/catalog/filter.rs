//! Selects a part of a database.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::meta::QualifiedName;

/// Patterns that select schemas and tables. `*` matches any sequence of characters and `?` one character; all others
/// match themselves, case-sensitively. A table pattern is `table` (in any schema) or `schema.table`, and includes
/// partitions, inheriting tables and chunks of hypertables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Filter {
    /// Only objects in these schemas.
    pub schemas: Vec<String>,
    /// No objects in these schemas.
    pub exclude_schemas: Vec<String>,
    /// Only these tables, and no other objects except what belongs to them.
    pub tables: Vec<String>,
    /// Exclude these tables.
    pub exclude_tables: Vec<String>,
    /// Only the definitions of these tables, without rows.
    pub exclude_table_data: Vec<String>,
    /// Only the rows of these tables that satisfy a condition: pattern to SQL condition (as after WHERE).
    #[serde(rename = "where", skip_serializing_if = "BTreeMap::is_empty")]
    pub conditions: BTreeMap<String, String>,
    /// The parents of each partition or inheriting table: what applies to a parent applies to its children. Set when a
    /// catalog is read, see `Filter::with_parents`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ancestors: BTreeMap<String, Vec<QualifiedName>>,
}

/// A relation that a filter can select.
#[derive(Debug, Clone)]
pub(crate) struct FilterableRelation {
    pub(crate) name: QualifiedName,
    /// Whether conditions on its rows are possible: an ordinary or partitioned table.
    pub(crate) table: bool,
}

impl Filter {
    /// Whether everything is selected.
    pub fn is_all(&self) -> bool {
        self.schemas.is_empty()
            && self.exclude_schemas.is_empty()
            && self.tables.is_empty()
            && self.exclude_tables.is_empty()
            && self.exclude_table_data.is_empty()
            && self.conditions.is_empty()
    }

    /// Adds the knowledge of partitions and inheritance, as pairs of child and parent.
    #[must_use]
    pub(crate) fn with_parents(
        mut self,
        pairs: impl IntoIterator<Item = (QualifiedName, QualifiedName)>,
    ) -> Filter {
        let mut parents: BTreeMap<QualifiedName, Vec<QualifiedName>> = BTreeMap::new();
        for (child, parent) in pairs {
            parents.entry(child).or_default().push(parent);
        }
        for child in parents.keys() {
            let mut above: Vec<QualifiedName> = Vec::new();
            let mut open = vec![child];
            while let Some(name) = open.pop() {
                for parent in parents.get(name).into_iter().flatten().filter(|parent| *parent != child) {
                    if !above.contains(parent) {
                        above.push(parent.clone());
                        open.push(parent);
                    }
                }
            }
            self.ancestors.insert(child.to_string(), above);
        }
        self
    }

    /// The table itself, then its ancestors.
    fn line<'a>(&'a self, name: &'a QualifiedName) -> impl Iterator<Item = &'a QualifiedName> + Clone {
        let above = match self.ancestors.is_empty() {
            true => None,
            false => self.ancestors.get(&name.to_string()),
        };
        std::iter::once(name).chain(above.into_iter().flatten())
    }

    /// Whether one of the patterns matches the table or an ancestor.
    fn means(&self, patterns: &[String], name: &QualifiedName) -> bool {
        !patterns.is_empty() && self.line(name).any(|name| names(patterns, name))
    }

    /// The condition on the rows of a table, if any; the conjunction if several patterns match.
    pub fn condition(&self, name: &QualifiedName) -> Option<String> {
        let mut parts: Vec<&str> = Vec::new();
        for (pattern, condition) in &self.conditions {
            if self.means(std::slice::from_ref(pattern), name) {
                parts.push(condition);
            }
        }
        match parts.as_slice() {
            [] => None,
            [only] => Some((*only).to_owned()),
            several => Some(several.iter().map(|one| format!("({one})")).collect::<Vec<_>>().join(" AND ")),
        }
    }

    /// Applies this filter to the result of an earlier one: tables without rows stay without rows, and excluded rows
    /// stay excluded.
    pub(crate) fn after(&self, before: &Filter) -> Filter {
        let mut both = self.clone();
        both.exclude_table_data.extend(before.exclude_table_data.iter().cloned());
        both.conditions.extend(before.conditions.clone());
        both.ancestors.extend(before.ancestors.clone());
        both
    }

    /// Descriptions of patterns that match nothing. They are usually misspelled and would select something else than
    /// intended.
    pub(crate) fn unmatched(&self, relations: &[FilterableRelation], schemas: &[String]) -> Vec<String> {
        let mut unmatched = Vec::new();
        for pattern in self.tables.iter().chain(&self.exclude_tables).chain(&self.exclude_table_data) {
            if !relations.iter().any(|relation| names(std::slice::from_ref(pattern), &relation.name)) {
                unmatched.push(format!("no table matches `{pattern}`"));
            }
        }
        for pattern in self.conditions.keys() {
            let one = std::slice::from_ref(pattern);
            let mut meant = relations.iter().filter(|relation| self.means(one, &relation.name)).peekable();
            if meant.peek().is_none() {
                unmatched.push(format!("no table matches `{pattern}`"));
            } else if !meant.any(|relation| relation.table && self.wants_rows(&relation.name)) {
                unmatched.push(format!(
                    "`{pattern}` has a condition on rows, but no table with selected rows matches it"
                ));
            }
        }
        for pattern in self.schemas.iter().chain(&self.exclude_schemas) {
            if !schemas.iter().any(|schema| glob(pattern, schema)) {
                unmatched.push(format!("no schema matches `{pattern}`"));
            }
        }
        unmatched
    }

    /// Whether objects of a schema are selected.
    pub fn wants_schema(&self, schema: &str) -> bool {
        let listed = |patterns: &[String]| patterns.iter().any(|pattern| glob(pattern, schema));
        (self.schemas.is_empty() || listed(&self.schemas)) && !listed(&self.exclude_schemas)
    }

    /// Whether a table or view is selected. A child is selected with its parent, even in another schema.
    pub fn wants_table(&self, name: &QualifiedName) -> bool {
        let listed = |patterns: &[String]| {
            self.line(name).any(|name| patterns.iter().any(|pattern| glob(pattern, &name.schema)))
        };
        (self.schemas.is_empty() || listed(&self.schemas))
            && !listed(&self.exclude_schemas)
            && (self.tables.is_empty() || self.means(&self.tables, name))
            && !self.means(&self.exclude_tables, name)
    }

    /// Whether large objects are selected. They belong to no schema or table, so a filter that selects some of those
    /// excludes them.
    pub fn wants_large_objects(&self) -> bool {
        self.schemas.is_empty() && self.tables.is_empty()
    }

    /// Whether the rows of a table are selected.
    pub fn wants_rows(&self, name: &QualifiedName) -> bool {
        self.wants_table(name) && !self.means(&self.exclude_table_data, name)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        for (what, patterns) in [
            ("schemas", &self.schemas),
            ("without schemas", &self.exclude_schemas),
            ("tables", &self.tables),
            ("without tables", &self.exclude_tables),
            ("without rows of", &self.exclude_table_data),
        ] {
            if !patterns.is_empty() {
                parts.push(format!("{what} {}", patterns.join(", ")));
            }
        }
        parts.extend(self.conditions.iter().map(|(table, condition)| format!("{table} where {condition}")));
        f.write_str(&if parts.is_empty() { "everything".to_owned() } else { parts.join("; ") })
    }
}

/// Whether one of the patterns matches the table.
fn names(patterns: &[String], name: &QualifiedName) -> bool {
    let full = format!("{}.{}", name.schema, name.name);
    patterns.iter().any(|pattern| glob(pattern, &name.name) || glob(pattern, &full))
}

/// Matches `text` against a pattern with `*` and `?`, by backtracking to the last star: constant memory, no recursion.
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

    #[test]
    fn patterns_for_a_table_apply_to_its_children() {
        let name = |name: &str| QualifiedName::new("public", name);
        let (root, middle, leaf) = (name("root"), name("middle"), QualifiedName::new("other", "leaf"));
        let pairs = [(leaf.clone(), middle.clone()), (middle.clone(), root.clone())];
        let filter = |filter: Filter| filter.with_parents(pairs.clone());
        let only = filter(Filter { tables: vec!["root".into()], ..Filter::default() });
        assert!(only.wants_rows(&leaf) && only.wants_table(&root) && !only.wants_table(&name("else")));
        let without = filter(Filter { exclude_tables: vec!["public.middle".into()], ..Filter::default() });
        assert!(!without.wants_table(&leaf) && without.wants_table(&root));
        let schema = filter(Filter { schemas: vec!["public".into()], ..Filter::default() });
        assert!(schema.wants_table(&leaf));
        let conditions = [("root".to_owned(), "a > 1".to_owned()), ("leaf".to_owned(), "a < 9".to_owned())];
        let some = filter(Filter { conditions: conditions.into(), ..Filter::default() });
        assert_eq!(some.condition(&leaf).unwrap(), "(a < 9) AND (a > 1)");
        assert_eq!(some.condition(&middle).unwrap(), "a > 1");
        assert!(some.condition(&name("else")).is_none());
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_reported() {
        let relation =
            |name: &str, table| FilterableRelation { name: QualifiedName::new("public", name), table };
        let filter = Filter {
            schemas: vec!["publik".into()],
            exclude_tables: vec!["b".into(), "c".into()],
            conditions: [("b".to_owned(), "true".to_owned()), ("v".to_owned(), "true".to_owned())].into(),
            ..Filter::default()
        };
        let found = filter.unmatched(&[relation("b", true), relation("v", false)], &["public".to_owned()]);
        assert_eq!(
            found,
            [
                "no table matches `c`",
                "`b` has a condition on rows, but no table with selected rows matches it",
                "`v` has a condition on rows, but no table with selected rows matches it",
                "no schema matches `publik`",
            ]
        );
    }
}
