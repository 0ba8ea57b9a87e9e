//! Writes a baseline from a catalog, in the form that [`super::Baseline::parse`] reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::observed::{first_list, key, observe_index};
use crate::catalog::Catalog;
use crate::catalog::constraint::IndexConstraintKind;
use crate::catalog::index::Index;
use crate::catalog::table::{Table, TableKind};
use crate::quote::one_line;

/// A baseline of all that a catalog contains, as text to be edited: extensions, and the columns, constraints and
/// indexes of every table and view. The same database passes a check against it.
///
/// Objects are sorted by name and columns by position, so that two captures of one schema are equal. Objects of the
/// server and of extensions are left out, and so are partitions, which change while their parent remains. `of` names
/// the origin for the first line.
pub fn capture(catalog: &Catalog, of: &str) -> String {
    let mut out = head(of);
    let partitions = catalog.tables.iter().filter(|table| table.is_partition()).count();
    let invalid: Vec<&Index> = catalog.indexes.iter().filter(|index| !index.valid).collect();
    if partitions > 0 {
        let _ = writeln!(
            out,
            "# Left out: {partitions} partitions, which change over time; their parents are included."
        );
    }
    for index in &invalid {
        let _ = writeln!(
            out,
            "# Left out: index {} on {}, which is not valid.",
            one_line(&index.meta.name),
            one_line(&key(&index.table))
        );
    }
    let extensions: BTreeSet<&str> = catalog.extensions.iter().map(|e| e.meta.name.as_str()).collect();
    for name in extensions {
        let _ = writeln!(out, "\n[extension.{}]", toml_key(name));
    }
    let foreign: BTreeSet<&str> = catalog
        .schemas
        .iter()
        .filter(|schema| schema.meta.extension.is_some())
        .map(|schema| schema.meta.name.as_str())
        .collect();
    let tables: BTreeMap<String, &Table> = catalog
        .tables
        .iter()
        .filter(|table| {
            table.meta.extension.is_none()
                && !table.is_partition()
                && !foreign.contains(table.meta.schema.as_str())
        })
        .map(|table| (toml_key(&declared_name(table)), table))
        .collect();
    for (name, table) in tables {
        table_text(&mut out, catalog, &name, table);
    }
    out
}

fn head(of: &str) -> String {
    format!(
        "# What the database must have, captured from {}.\n\
         #\n\
         # Edit it: remove what need not be checked, and mark exceptions.\n\
         # - Types are compared by meaning: varchar(20) is character varying(20). `nullable` and `default` may be left out;\n\
         #   then any value is accepted, and `name = \"type\"` is enough.\n\
         # - Environments are declared once, before anything else: environments = [\"staging\", \"production\"].\n\
         #   `optional-in = \"staging\"` on an extension, table, column, index or constraint allows it to be missing there;\n\
         #   `type-in = {{ staging = \"text\" }}` on a column sets a different type there.\n\
         # - Migrations are declared in the order in which they are applied, each by [[migration]] with `name = \"…\"`;\n\
         #   `provided-by = \"…\"` on an object then names the one that creates it.\n\
         # - An equivalent index or constraint with another name is accepted, except for checks.\n",
        one_line(of)
    )
}

/// `table` in schema public, else `schema.table`.
fn declared_name(table: &Table) -> String {
    match (table.meta.schema.as_str(), table.meta.name.contains('.')) {
        ("public", false) => table.meta.name.clone(),
        _ => key(&table.name()),
    }
}

fn table_text(out: &mut String, catalog: &Catalog, name: &str, table: &Table) {
    let words = match table.kind {
        TableKind::Ordinary => "",
        kind => kind.keyword(),
    };
    let comment = if words.is_empty() { String::new() } else { format!("    # {}", words.to_lowercase()) };
    let _ = writeln!(out, "\n[table.{name}.columns]{comment}");
    for column in &table.columns {
        let mut attributes = format!("type = {}", toml_string(&column.type_name));
        // The columns of a view follow from its query.
        if !matches!(table.kind, TableKind::View | TableKind::MaterializedView) {
            let _ = write!(attributes, ", nullable = {}", !column.not_null);
            if column.default.is_some() || column.identity.is_some() {
                attributes.push_str(", default = true");
            }
        }
        let _ = writeln!(out, "{} = {{ {attributes} }}", toml_key(&column.name));
    }
    let mut constraints: BTreeMap<&str, String> = BTreeMap::new();
    for check in &table.checks {
        constraints.insert(&check.name, "kind = \"check\"".to_owned());
    }
    let mut indexes: BTreeMap<&str, String> = BTreeMap::new();
    let own = catalog.indexes.iter().filter(|index| index.table == table.name() && index.valid);
    for index in own {
        let seen = observe_index(index);
        let columns = list(&seen.columns);
        if let Some(constraint) = &index.constraint {
            let kind = match constraint.kind {
                IndexConstraintKind::PrimaryKey => "primary-key",
                IndexConstraintKind::Unique => "unique",
                IndexConstraintKind::Exclusion => "exclusion",
            };
            constraints.insert(&constraint.name, format!("kind = \"{kind}\", columns = {columns}"));
            continue;
        }
        let mut attributes = format!("columns = {columns}");
        if seen.method != "btree" {
            let _ = write!(attributes, ", method = {}", toml_string(&seen.method));
        }
        for (word, yes) in [("unique", seen.unique), ("partial", seen.partial)] {
            if yes {
                let _ = write!(attributes, ", {word} = true");
            }
        }
        indexes.insert(&index.meta.name, attributes);
    }
    for foreign_key in catalog.foreign_keys.iter().filter(|key| key.table == table.name()) {
        let attributes = format!(
            "kind = \"foreign-key\", columns = {}, references = {}",
            list(&first_list(&foreign_key.definition)),
            toml_string(&key(&foreign_key.references))
        );
        constraints.insert(&foreign_key.name, attributes);
    }
    for (part, objects) in [("constraints", constraints), ("indexes", indexes)] {
        if objects.is_empty() {
            continue;
        }
        let _ = writeln!(out, "\n[table.{name}.{part}]");
        for (name, attributes) in objects {
            let _ = writeln!(out, "{} = {{ {attributes} }}", toml_key(name));
        }
    }
}

fn list(names: &[String]) -> String {
    format!("[{}]", names.iter().map(|name| toml_string(name)).collect::<Vec<_>>().join(", "))
}

fn toml_key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { name.to_owned() } else { toml_string(name) }
}

/// A TOML basic string. TOML allows control characters only as escapes.
fn toml_string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_as_toml_wants_them() {
        for name in
            ["plain", "with space", "q\"uote", "back\\slash", "new\nline", "", "한글", "a.b", "\u{7f}"]
        {
            let text = format!("{} = {}", toml_key(name), toml_string(name));
            let table: toml::Table = toml::from_str(&text).unwrap();
            assert_eq!(table.get(name).and_then(toml::Value::as_str), Some(name), "{text}");
        }
    }

    #[test]
    fn an_empty_catalog_gives_a_baseline_that_can_be_read() {
        let text = capture(&Catalog::default(), "host\nname = 1");
        assert_eq!(super::super::Baseline::parse(&text).unwrap().tables.len(), 0);
    }
}
