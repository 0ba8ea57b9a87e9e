//! The parts of a database that a baseline checks.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Client;

use super::declared::ConstraintKind;
use super::types::{CanonicalType, in_quotes};
use crate::Error;
use crate::catalog::constraint::IndexConstraintKind;
use crate::catalog::index::Index;
use crate::catalog::{self, Catalog, Filter, QualifiedName};

/// The existing objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Tables and views by `schema.name`, unquoted.
    pub tables: BTreeMap<String, ObservedTable>,
    /// Extensions.
    pub extensions: BTreeSet<String>,
    /// Names of types that the database defines or uses, without schema; quoted if needed.
    pub types: BTreeSet<String>,
}

/// An existing table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedTable {
    /// Columns by name.
    pub columns: BTreeMap<String, ObservedColumn>,
    /// Indexes by name, including those of constraints.
    pub indexes: BTreeMap<String, ObservedIndex>,
    /// Constraints by name.
    pub constraints: BTreeMap<String, ObservedConstraint>,
}

/// An existing column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedColumn {
    /// The type, formatted by the server.
    pub type_name: String,
    /// Whether NULL is allowed.
    pub nullable: bool,
    /// Whether it has a default or is generated.
    pub default: bool,
}

/// An existing index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedIndex {
    /// Key columns, in order; `(expression)` for an expression.
    pub columns: Vec<String>,
    /// Whether it is unique.
    pub unique: bool,
    /// Its access method.
    pub method: String,
    /// Whether it is partial.
    pub partial: bool,
    /// Whether it is valid.
    pub valid: bool,
}

/// An existing constraint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedConstraint {
    /// Its kind.
    pub kind: ConstraintKind,
    /// Its columns, in order; empty for a check.
    pub columns: Vec<String>,
    /// The table referenced by a foreign key, as `schema.name`.
    pub references: Option<String>,
}

impl Observed {
    /// Reads a live database. The session must have an empty `search_path`, as those of [`crate::connect()`] do.
    ///
    /// # Errors
    /// As [`catalog::read`].
    pub async fn read(client: &Client, server_version_num: u32) -> Result<Observed, Error> {
        Ok(Observed::from_catalog(&catalog::read(client, server_version_num, &Filter::default()).await?))
    }

    /// Reads a stored catalog.
    pub fn from_catalog(catalog: &Catalog) -> Observed {
        let mut observed = Observed {
            extensions: catalog.extensions.iter().map(|extension| extension.meta.name.clone()).collect(),
            types: catalog.types.iter().map(|kind| in_quotes(&kind.meta.name)).collect(),
            ..Observed::default()
        };
        for table in &catalog.tables {
            let seen = observed.tables.entry(key(&table.name())).or_default();
            for column in &table.columns {
                observed.types.insert(CanonicalType::of(&column.type_name).bare().to_owned());
                let column_seen = ObservedColumn {
                    type_name: column.type_name.clone(),
                    nullable: !column.not_null,
                    default: column.default.is_some() || column.identity.is_some(),
                };
                seen.columns.insert(column.name.clone(), column_seen);
            }
            for check in &table.checks {
                let kind = ConstraintKind::Check;
                let check_seen = ObservedConstraint { kind, columns: Vec::new(), references: None };
                seen.constraints.insert(check.name.clone(), check_seen);
            }
        }
        for index in &catalog.indexes {
            let Some(table) = observed.tables.get_mut(&key(&index.table)) else { continue };
            let index_seen = observe_index(index);
            if let Some(constraint) = &index.constraint {
                let kind = match constraint.kind {
                    IndexConstraintKind::PrimaryKey => ConstraintKind::PrimaryKey,
                    IndexConstraintKind::Unique => ConstraintKind::Unique,
                    IndexConstraintKind::Exclusion => ConstraintKind::Exclusion,
                };
                let seen = ObservedConstraint { kind, columns: index_seen.columns.clone(), references: None };
                table.constraints.insert(constraint.name.clone(), seen);
            }
            table.indexes.insert(index.meta.name.clone(), index_seen);
        }
        for foreign_key in &catalog.foreign_keys {
            let Some(table) = observed.tables.get_mut(&key(&foreign_key.table)) else { continue };
            let seen = ObservedConstraint {
                kind: ConstraintKind::ForeignKey,
                columns: first_list(&foreign_key.definition),
                references: Some(key(&foreign_key.references)),
            };
            table.constraints.insert(foreign_key.name.clone(), seen);
        }
        observed
    }
}

pub(super) fn key(name: &QualifiedName) -> String {
    format!("{}.{}", name.schema, name.name)
}

pub(super) fn observe_index(index: &Index) -> ObservedIndex {
    let keys = usize::try_from(index.key_columns).unwrap_or(0);
    let column = |name: &Option<String>| name.clone().unwrap_or_else(|| "(expression)".to_owned());
    let words = bare_words(&index.definition);
    let mut after_using = words.iter().skip_while(|word| **word != "USING").skip(1);
    ObservedIndex {
        columns: index.columns.iter().take(keys).map(column).collect(),
        unique: words.get(1).is_some_and(|word| *word == "UNIQUE"),
        method: after_using.next().map_or_else(String::new, |word| (*word).to_owned()),
        partial: words.contains(&"WHERE"),
        valid: index.valid,
    }
}

/// The words of a deparsed statement outside quotes and parentheses.
fn bare_words(definition: &str) -> Vec<&str> {
    let (mut words, mut start, mut depth, mut quote) = (Vec::new(), None, 0_usize, None);
    for (at, c) in definition.char_indices() {
        let is_word = quote.is_none() && depth == 0 && (c.is_alphanumeric() || c == '_');
        match (is_word, start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                words.extend(definition.get(from..at));
                start = None;
            }
            _ => {}
        }
        match (quote, c) {
            (Some(open), c) if open == c => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    words.extend(start.and_then(|from| definition.get(from..)));
    words
}

/// The names in the first parentheses of a deparsed constraint: `FOREIGN KEY (a, "B") REFERENCES …` gives a and B.
pub(super) fn first_list(definition: &str) -> Vec<String> {
    let Some((_, rest)) = definition.split_once('(') else { return Vec::new() };
    let (mut names, mut name, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = rest.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                name.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => names.push(std::mem::take(&mut name)),
            ')' if !quoted => break,
            ' ' if !quoted => {}
            c => name.push(c),
        }
    }
    names.push(name);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deparsed_statements_are_read_around_quotes() {
        let text =
            r#"CREATE UNIQUE INDEX "a WHERE (b" ON public."USING x" USING gist (c, d) WHERE (e = 'WHERE)')"#;
        assert_eq!(bare_words(text), ["CREATE", "UNIQUE", "INDEX", "ON", "public", "USING", "gist", "WHERE"]);
        let text = r#"CREATE INDEX i ON s.t USING btree (x) WITH (fillfactor='70')"#;
        assert!(!bare_words(text).contains(&"WHERE"));
        let text = r#"FOREIGN KEY (a, "B, ""c)") REFERENCES public.t(x, y) ON DELETE CASCADE"#;
        assert_eq!(first_list(text), ["a", "B, \"c)"]);
    }
}
