//! Compares the definitions of two databases, object by object.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::spelling::same_but_for_spelling;
use super::{CompareOptions, SchemaDifference, SchemaProof, database, extensions};
use crate::Error;
use crate::catalog::Catalog;
use crate::ddl::{self, RenderOptions, Section};
use crate::error::without_secrets;
use crate::timescaledb::lookup::settle_owners;
use crate::timescaledb::model::Timescale;
use crate::timescaledb::statements::{STATE, facts};

/// Compares both catalogs, rendered for the older of the two servers: an object is defined by its statements.
///
/// Servers of different major versions may deparse the same query differently. Such differences in spelling are
/// returned separately, as the second list. Roles of the left side are mapped if requested.
pub(super) fn differences(
    left: &Catalog,
    right: &Catalog,
    options: &CompareOptions,
) -> Result<(Vec<SchemaDifference>, Vec<String>), Error> {
    let left_options = options.render.clone().comparing(left.server_version_num, right.server_version_num);
    let right_options = RenderOptions { role_map: Default::default(), ..left_options.clone() };
    let scope = Scope { settings: options.database_settings, ..Scope::default() };
    let (left, right, owners) = settled(left, right, &left_options, &right_options);
    let (left, right) = (&*left, &*right);
    let found = match options.schema_only {
        true => {
            let definitions = |catalog: &Catalog| {
                let mut catalog = catalog.clone();
                without_data(&mut catalog);
                catalog
            };
            prove(&definitions(left), &left_options, &definitions(right), &right_options, &scope)?
        }
        false => prove(left, &left_options, right, &right_options, &scope)?,
    };
    Ok((found.differences, [owners, found.not_compared].concat()))
}

/// A policy that belongs, on one side, to the owner of its table cannot have another owner after a restore there:
/// returns both catalogs with one owner for it, and a note for each.
fn settled<'a>(
    left: &'a Catalog,
    right: &'a Catalog,
    left_options: &RenderOptions,
    right_options: &RenderOptions,
) -> (Cow<'a, Catalog>, Cow<'a, Catalog>, Vec<String>) {
    if left_options.no_owner || left.timescale.is_none() || right.timescale.is_none() {
        return (Cow::Borrowed(left), Cow::Borrowed(right), Vec::new());
    }
    let (mut one, mut other) = (left.clone(), right.clone());
    let mut found = settle_owners(&mut one, right, left_options);
    // The names on the right differ from those on the left if roles are mapped.
    if left_options.role_map.is_empty() {
        let reversed = settle_owners(&mut other, &one, right_options).into_iter();
        found.extend(reversed.map(|(policy, [theirs, ours])| (policy, [ours, theirs])));
    }
    let difference = |(policy, [ours, theirs]): (String, [String; 2])| {
        format!(
            "owner of {policy}: {ours} on the left, {theirs} on the right, and one of these owns its table or view"
        )
    };
    (Cow::Owned(one), Cow::Owned(other), found.into_iter().map(difference).collect())
}

/// Removes what depends on rows: values of sequences, whether materialized views are populated, large objects,
/// chunks.
pub(crate) fn without_data(catalog: &mut Catalog) {
    catalog.sequences.iter_mut().for_each(|sequence| sequence.value = None);
    catalog.tables.iter_mut().for_each(|table| table.populated = false);
    catalog.large_objects.clear();
    if let Some(timescale) = &mut catalog.timescale {
        let inner = timescale.aggregates.iter_mut().map(|aggregate| {
            aggregate.watermark = None;
            aggregate.invalid = None;
            &mut aggregate.materialized
        });
        timescale.hypertables.iter_mut().chain(inner).for_each(|table| table.chunks.clear());
    }
}

/// What no comparison of two databases covers.
pub(crate) const OUTSIDE: &[&str] = &[
    "roles, memberships, tablespaces and settings of the servers",
    "objects that scripts of extensions create (their versions and names are compared)",
    "rows of foreign tables, and planner statistics",
];

/// Which parts of two schemas to compare.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    /// Only objects that the left side has; the right side may have others.
    pub(crate) ours: bool,
    /// The right side was restored from the left: versions of extensions and settings of the database are the
    /// target's.
    pub(crate) restored: bool,
    /// Whether settings of the databases count.
    pub(crate) settings: bool,
    /// Only statements of these sections; empty for all.
    pub(crate) sections: Vec<Section>,
}

/// Kinds of objects that exist in every database, to which a restore adds and which it never replaces.
const ADDED_TO: [&str; 4] = ["default privileges ", "built-in ", "schema ", "extension "];

/// The same with options for omissions and, on the left side, role mapping.
pub(crate) fn prove(
    left: &Catalog,
    left_options: &RenderOptions,
    right: &Catalog,
    right_options: &RenderOptions,
    scope: &Scope,
) -> Result<SchemaProof, Error> {
    let [old, new] = {
        let mut majors = [left, right].map(|catalog| catalog.server_version_num / 10_000);
        majors.sort_unstable();
        majors
    };
    let Definitions { mut objects, made_by } =
        definitions((left, left_options), (right, right_options), scope)?;
    let of_extensions = extensions::compare(left, right, scope);
    let (settings, notes) = database::compare((left, left_options), (right, right_options), scope);
    let (mut real, mut spelling) = (of_extensions.differences, of_extensions.notes);
    real.extend(settings);
    spelling.extend(notes);
    let named_here: BTreeSet<String> = extensions_here(left, right);
    let other_version = |object: &str| {
        let extension = made_by.get(object)?;
        extensions::other_version(left, right, extension).then_some(extension)
    };
    if scope.restored {
        objects.retain(|object, _| !named_here.contains(object));
        spelling.extend(named_here.iter().map(|object| format!("{object}: only the target has it")));
    }
    if scope.ours {
        objects.retain(|_, [left, _]| !left.is_empty());
    }
    let number = objects.len();
    for (object, sides) in objects {
        match difference(&object, sides, scope, [old, new], other_version(&object)) {
            Some(Finding::Different(found)) => real.push(found),
            Some(Finding::Note(note)) => spelling.push(note),
            None => {}
        }
    }
    Ok(SchemaProof {
        objects: number,
        differences: real,
        not_compared: spelling,
        outside: OUTSIDE,
        same_version: old == new,
    })
}

/// The definitions of both sides, by object.
struct Definitions {
    /// The statements of each side.
    objects: BTreeMap<String, [Vec<String>; 2]>,
    /// The extensions that created objects.
    made_by: BTreeMap<String, String>,
}

/// Renders both catalogs for the older of their versions.
fn definitions(
    (left, left_options): (&Catalog, &RenderOptions),
    (right, right_options): (&Catalog, &RenderOptions),
    scope: &Scope,
) -> Result<Definitions, Error> {
    let version = left.server_version_num.min(right.server_version_num);
    // A catalog stored by the first versions does not contain them.
    let ranges = [left, right].into_iter().filter_map(|c| c.timescale.as_ref()).all(Timescale::knows_ranges);
    let mut objects: BTreeMap<String, [Vec<String>; 2]> = BTreeMap::new();
    let left_has = |name: &str| left.extensions.iter().any(|extension| extension.meta.name == name);
    let mut made_by: BTreeMap<String, String> = BTreeMap::new();
    for (side, (catalog, options)) in [(left, left_options), (right, right_options)].into_iter().enumerate() {
        let mut catalog = super::columns::with_inherited_first(catalog);
        if catalog.timescale.is_some() && !ranges {
            let timescale = catalog.to_mut().timescale.iter_mut();
            timescale.flat_map(|timescale| &mut timescale.aggregates).for_each(|a| a.invalid = None);
        }
        let statements = ddl::render(&catalog, version, options)?.statements.into_iter();
        let wanted = |section| scope.sections.is_empty() || scope.sections.contains(&section);
        for statement in statements.filter(|statement| wanted(statement.section)) {
            // The target already had the extension, so it contains nothing of the restore.
            if scope.restored && statement.extension.as_ref().is_some_and(|name| !left_has(name)) {
                continue;
            }
            let object = super::deparse::settled(statement.object.to_string());
            if let Some(extension) = statement.extension {
                made_by.insert(object.clone(), extension);
            }
            let entry = objects.entry(object).or_default();
            if let Some(statements) = entry.get_mut(side) {
                statements.push(super::deparse::settled(statement.sql));
            }
        }
        let hypertables = catalog.timescale.iter();
        for (object, fact) in hypertables.flat_map(|timescale| facts(timescale, options)) {
            let entry = objects.entry(object).or_default();
            if let Some(facts) = entry.get_mut(side) {
                facts.push(fact);
            }
        }
    }
    Ok(Definitions { objects, made_by })
}

/// The finding about an object.
enum Finding {
    Different(SchemaDifference),
    /// Equal, with a note.
    Note(String),
}

/// Compares the definitions of an object. `other_version` is the extension that created it, if its versions differ.
fn difference(
    object: &str,
    [left, right]: [Vec<String>; 2],
    scope: &Scope,
    [old, new]: [u32; 2],
    other_version: Option<&String>,
) -> Option<Finding> {
    let (only_left, mut only_right) = (without(&left, &right), without(&right, &left));
    if !scope.restored && object.starts_with(STATE) {
        if !(only_left.is_empty() && only_right.is_empty()) {
            return Some(Finding::Note(format!(
                "{object}: {} of them on the left, {} on the right; rows are compared regardless of how they are stored",
                left.len(),
                right.len()
            )));
        }
        return None;
    }
    // Privileges on an object that only one of two versions of an extension creates.
    let one_sided = only_left.is_empty() != only_right.is_empty() && !object.starts_with("sequence ");
    if let (Some(extension), true) = (other_version, one_sided) {
        return Some(Finding::Note(format!(
            "privileges of {object}, which extension {extension}, of a different version on each side, creates: {}",
            [only_left, only_right].concat().join("; ")
        )));
    }
    if scope.ours && ADDED_TO.iter().any(|kind| object.starts_with(kind)) {
        only_right.clear();
    }
    if only_left.is_empty() && only_right.is_empty() {
        return None;
    }
    Some(if same_columns(&only_left, &only_right) {
        Finding::Note(format!(
            "{object}: its columns are in a different order, inherited ones first, as after every dump and restore"
        ))
    } else if old != new && same_but_for_spelling(&only_left, &only_right) {
        Finding::Note(format!(
            "{object}: PostgreSQL {old} and {new} print it differently; it is the same except for parentheses, table \
             names before columns, and words without effect"
        ))
    } else {
        // They are compared unchanged, and shown without passwords.
        let shown = |statements: Vec<String>| statements.into_iter().map(without_secrets).collect();
        Finding::Different(SchemaDifference {
            object: object.to_owned(),
            left: shown(only_left),
            right: shown(only_right),
        })
    })
}

/// The extensions that only the right side has, as objects.
fn extensions_here(left: &Catalog, right: &Catalog) -> BTreeSet<String> {
    let there = |name: &str| left.extensions.iter().any(|extension| extension.meta.name == name);
    right
        .extensions
        .iter()
        .filter(|extension| !there(&extension.meta.name))
        .map(|extension| super::deparse::settled(format!("extension {}", extension.meta.qualified())))
        .collect()
}

fn without(all: &[String], others: &[String]) -> Vec<String> {
    all.iter().filter(|sql| !others.contains(sql)).cloned().collect()
}

/// One child's definition with its columns in two orders. A table that was made to inherit, or whose parent got a column
/// later, has its own columns first; recreated, it has the inherited ones first. Rows are loaded by column names.
fn same_columns(left: &[String], right: &[String]) -> bool {
    let lines = |sql: &str| -> Option<Vec<String>> {
        let mut lines: Vec<String> = sql.lines().map(|line| line.trim_end_matches(',').to_owned()).collect();
        lines.sort();
        (sql.starts_with("CREATE ") && sql.contains("\nINHERITS (")).then_some(lines)
    };
    match (left, right) {
        ([left], [right]) => lines(left).is_some_and(|left| lines(right) == Some(left)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_childs_columns_may_change_places() {
        let child = |columns: &str| vec![format!("CREATE TABLE s.t (\n{columns}\n)\nINHERITS (s.p)")];
        assert!(same_columns(&child("    a int,\n    b text"), &child("    b text,\n    a int")));
        assert!(!same_columns(&child("    a int,\n    b text"), &child("    b text,\n    a bigint")));
        let plain = |columns: &str| vec![format!("CREATE TABLE s.t (\n{columns}\n)")];
        assert!(!same_columns(&plain("    a int,\n    b text"), &plain("    b text,\n    a int")));
    }
}
