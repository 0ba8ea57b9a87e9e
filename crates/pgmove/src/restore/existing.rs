//! Restores rows into an existing schema: columns matched by name, every conflict of every table found before
//! anything is written.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::compatibility::{Compatibility, compatibility};
use super::options::OnRows;
use super::plan::{IntoExisting, TablePlan};
use super::rights;
use crate::Error;
use crate::catalog::{Catalog, QualifiedName, deparsed, large_objects_table};
use crate::conflict::Conflict;
use crate::connect::Session;
use crate::quote::{ident, literal};
use crate::warning::Warning;

/// A column of the target.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) type_name: String,
    pub(super) not_null: bool,
    /// Has a default, or is an identity.
    pub(super) filled: bool,
    pub(super) generated: bool,
}

type Tables = HashMap<QualifiedName, BTreeMap<String, Column>>;

/// A foreign key of the target.
#[derive(Debug)]
struct Reference {
    name: String,
    from: QualifiedName,
    to: QualifiedName,
    orphans: String,
    /// Whether a partition repeats it.
    repeated: bool,
}

/// Compares the catalog with the target's own schema.
pub(super) async fn plan(
    session: &Session,
    catalog: &Catalog,
    on_rows: OnRows,
) -> Result<IntoExisting, Error> {
    let mut into = IntoExisting { append: on_rows == OnRows::Append, ..IntoExisting::default() };
    let there = columns(session).await?;
    into.divided = divided(session).await?;
    for table in catalog.data_tables() {
        let name = table.name();
        match there.get(&name) {
            None => into.conflicts.push(Conflict::MissingTable { table: name }),
            Some(columns) => {
                let plan = match_columns(table, columns, &mut into);
                let plan = TablePlan { divided: into.divided.contains(&name), ..plan };
                into.tables.insert(name, plan);
            }
        }
    }
    configuration(catalog, &there, &mut into);
    if !catalog.large_objects.is_empty() {
        into.tables.insert(large_objects_table(), TablePlan::default());
        let sql = "SELECT oid FROM pg_largeobject_metadata";
        let here: BTreeSet<String> =
            session.query("the target's large objects", sql).await?.into_iter().flatten().flatten().collect();
        let taken: Vec<&str> = catalog
            .large_objects
            .iter()
            .map(|object| object.meta.name.as_str())
            .filter(|oid| here.contains(*oid))
            .collect();
        match on_rows {
            OnRows::Truncate if taken.is_empty() => {}
            OnRows::Truncate => {
                let these = taken.join(", ");
                into.before.push(format!(
                    "SELECT pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata WHERE oid IN ({these})"
                ));
            }
            _ => into
                .conflicts
                .extend(taken.iter().map(|oid| Conflict::LargeObjectExists { oid: (*oid).to_owned() })),
        }
    }
    let mut references = references(session).await?;
    // A chunk repeats the foreign keys of its hypertable.
    let chunks = crate::timescaledb::lookup::all_chunks(session).await?;
    references.retain(|reference| !chunks.contains(&reference.from) && !chunks.contains(&reference.to));
    // And a partition repeats those of its partitioned table.
    references.retain(|reference| !reference.repeated || into.tables.contains_key(&reference.from));
    suppress_triggers(session, &references, &mut into).await?;
    let lacking = rights::to_fill(session, &into, on_rows == OnRows::Truncate).await?;
    match on_rows {
        OnRows::Append => {}
        // An unreadable table cannot be checked.
        OnRows::Refuse if !lacking.is_empty() => {}
        OnRows::Refuse => {
            let occupied = occupied(session, &into).await?.into_iter();
            into.conflicts.extend(occupied.map(|table| Conflict::TableHoldsRows { table }));
        }
        OnRows::Truncate => {
            let hypertables = crate::timescaledb::lookup::hypertables(session).await?;
            truncate(&references, &hypertables, &mut into);
        }
    }
    into.conflicts.extend(lacking);
    sequences(session, catalog, &mut into).await?;
    materialized_views(session, catalog, &mut into).await?;
    let touched = |reference: &&Reference| {
        into.tables.contains_key(&reference.from) || into.tables.contains_key(&reference.to)
    };
    if !into.begin.is_empty() {
        into.references =
            references.iter().filter(touched).map(|r| (r.name.clone(), r.orphans.clone())).collect();
    }
    Ok(into)
}

/// The users' rows in configuration tables of extensions that exist here too. Rows from an extension's script are not
/// changed.
fn configuration(catalog: &Catalog, there: &Tables, into: &mut IntoExisting) {
    for (table, condition) in catalog.config_tables() {
        let name = table.name();
        let Some(columns) = there.get(&name) else {
            let extension = table.meta.extension.clone().unwrap_or_default();
            into.warnings.push(Warning::MissingConfigurationTable { table: name, extension });
            continue;
        };
        let plan = TablePlan { condition: condition.to_owned(), ..match_columns(table, columns, into) };
        into.config.insert(name.clone());
        into.tables.insert(name, plan);
    }
}

fn match_columns(
    table: &crate::catalog::table::Table,
    there: &BTreeMap<String, Column>,
    into: &mut IntoExisting,
) -> TablePlan {
    let name = table.name();
    let mut plan = TablePlan::default();
    for column in table.copy_columns() {
        let of = || (name.clone(), column.name.clone());
        let Some(found) = there.get(&column.name) else {
            let (table, column) = of();
            into.conflicts.push(Conflict::MissingColumn { table, column });
            continue;
        };
        if found.generated {
            let (table, column) = of();
            into.conflicts.push(Conflict::GeneratedColumn { table, column });
        }
        match compatibility(&column.type_name, &found.type_name) {
            Compatibility::Same => {}
            // Read back, it must be the same text.
            Compatibility::Wider => {
                plan.casts.insert(column.name.clone(), column.type_name.clone());
            }
            Compatibility::None => {
                let (here, at_source) = (found.type_name.clone(), column.type_name.clone());
                let (table, column) = of();
                into.conflicts.push(Conflict::ColumnType { table, column, here, at_source });
            }
        }
        if found.not_null && !column.not_null {
            let (table, column) = of();
            into.warnings.push(Warning::NotNull { table, column });
        }
        plan.columns.push(column.name.clone());
    }
    for (column, found) in there {
        let known = table.columns.iter().any(|c| c.name == *column && c.generated.is_none());
        if !known && found.not_null && !found.filled && !found.generated {
            into.conflicts.push(Conflict::RequiredColumn { table: name.clone(), column: column.clone() });
        }
    }
    plan
}

async fn divided(session: &Session) -> Result<BTreeSet<QualifiedName>, Error> {
    let sql = "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'p'";
    Ok(QualifiedName::of_rows(session.query("the target's partitioned tables", sql).await?))
}

/// Tables that get rows through others: partitions, each with every table above it.
async fn partitions(session: &Session) -> Result<Vec<(QualifiedName, QualifiedName)>, Error> {
    let sql = "WITH RECURSIVE above(leaf, oid) AS ( \
                 SELECT i.inhrelid, i.inhparent FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid AND c.relispartition \
                 UNION ALL SELECT a.leaf, i.inhparent FROM above a JOIN pg_inherits i ON i.inhrelid = a.oid) \
               SELECT n.nspname, c.relname, m.nspname, p.relname FROM above a JOIN pg_class c ON c.oid = a.leaf \
               JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_class p ON p.oid = a.oid JOIN pg_namespace m ON m.oid = p.relnamespace";
    let pair = |row: Vec<Option<String>>| {
        let mut fields = row.into_iter().flatten();
        let leaf = QualifiedName::new(fields.next()?, fields.next()?);
        Some((leaf, QualifiedName::new(fields.next()?, fields.next()?)))
    };
    Ok(session.query("the target's partitions", sql).await?.into_iter().filter_map(pair).collect())
}

async fn columns(session: &Session) -> Result<Tables, Error> {
    let type_name = deparsed::type_name("a.atttypid", "a.atttypmod");
    let sql = format!(
        "SELECT n.nspname, c.relname, a.attname, {type_name}, a.attnotnull, \
               a.atthasdef OR a.attidentity <> '' OR EXISTS (SELECT FROM pg_type t WHERE t.oid = a.atttypid AND t.typdefault IS NOT NULL), \
               a.attgenerated <> '' \
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
               WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname <> 'information_schema' \
               AND n.nspname NOT LIKE 'pg\\_%' ORDER BY c.oid, a.attnum"
    );
    let mut tables = Tables::new();
    for row in session.query("the target's columns", &sql).await? {
        let mut fields = row.into_iter();
        let (Some(Some(schema)), Some(Some(table))) = (fields.next(), fields.next()) else { continue };
        let columns = tables.entry(QualifiedName::new(schema, table)).or_default();
        let (Some(Some(name)), Some(Some(type_name))) = (fields.next(), fields.next()) else { continue };
        let mut flag = || fields.next().flatten().as_deref() == Some("t");
        let (not_null, filled, generated) = (flag(), flag(), flag());
        // The expression of a generated column is stored like a default.
        let type_name = deparsed::requoted(&type_name);
        columns.insert(name, Column { type_name, not_null, filled: filled && !generated, generated });
    }
    Ok(tables)
}

/// Foreign keys, each with a query for dangling references.
async fn references(session: &Session) -> Result<Vec<Reference>, Error> {
    let sql = "SELECT k.conname, n.nspname, c.relname, m.nspname, r.relname, \
               (SELECT json_agg(json_build_array(f.attname, p.attname) ORDER BY x.at) FROM unnest(k.conkey, k.confkey) WITH ORDINALITY x(f, p, at) \
                 JOIN pg_attribute f ON f.attrelid = k.conrelid AND f.attnum = x.f \
                 JOIN pg_attribute p ON p.attrelid = k.confrelid AND p.attnum = x.p)::text, \
               k.conparentid <> 0 \
               FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
               JOIN pg_class r ON r.oid = k.confrelid JOIN pg_namespace m ON m.oid = r.relnamespace \
               WHERE k.contype = 'f' AND k.convalidated ORDER BY 2, 3, 1";
    let mut references = Vec::new();
    for row in session.query("the target's foreign keys", sql).await? {
        let mut fields = row.into_iter().map(Option::unwrap_or_default);
        let mut next = || fields.next().unwrap_or_default();
        let name = next();
        let from = QualifiedName::new(next(), next());
        let to = QualifiedName::new(next(), next());
        let pairs: Vec<(String, String)> = serde_json::from_str(&next()).unwrap_or_default();
        let repeated = next() == "t";
        let join: Vec<String> =
            pairs.iter().map(|(f, p)| format!("f.{} = p.{}", ident(f), ident(p))).collect();
        let set: Vec<String> = pairs.iter().map(|(f, _)| format!("f.{} IS NOT NULL", ident(f))).collect();
        let orphans = format!(
            "SELECT 1 FROM {from} f WHERE {} AND NOT EXISTS (SELECT FROM {to} p WHERE {}) LIMIT 1",
            set.join(" AND "),
            join.join(" AND ")
        );
        references.push(Reference {
            name: format!("foreign key {} on {from}", ident(&name)),
            from,
            to,
            orphans,
            repeated,
        });
    }
    Ok(references)
}

/// Finds a way to load without triggers and without an order of tables; otherwise an order that works.
async fn suppress_triggers(
    session: &Session,
    references: &[Reference],
    into: &mut IntoExisting,
) -> Result<(), Error> {
    let may = "SELECT CASE WHEN rolsuper THEN true WHEN current_setting('server_version_num')::int >= 150000 \
               THEN has_parameter_privilege('session_replication_role', 'SET') ELSE false END \
               FROM pg_roles WHERE rolname = current_user";
    // The function does not exist before 15, and CASE does not keep the parser from resolving it.
    let may = if session.server().version_num >= 150_000 {
        may.to_owned()
    } else {
        "SELECT rolsuper FROM pg_roles WHERE rolname = current_user".to_owned()
    };
    let replica = session.value("the role's rights", &may).await?.as_deref() == Some("t");
    let reached: BTreeSet<QualifiedName> = match into.tables.values().any(|table| table.divided) {
        true => partitions(session)
            .await?
            .into_iter()
            .filter_map(|(leaf, above)| into.tables.contains_key(&above).then_some(leaf))
            .collect(),
        false => BTreeSet::new(),
    };
    for (table, trigger, enabled) in triggers(session).await? {
        if !into.tables.contains_key(&table) && !reached.contains(&table) {
            continue;
        }
        match (replica, enabled.as_str()) {
            (true, "A" | "R") => {
                let always = enabled == "A";
                into.conflicts.push(Conflict::ReplicaTrigger { trigger, table, always });
            }
            (true, _) | (false, "D" | "R") => {}
            (false, _) => into.conflicts.push(Conflict::Trigger { trigger, table }),
        }
    }
    if replica {
        into.begin = "SET LOCAL session_replication_role = replica".to_owned();
        return Ok(());
    }
    rank(references, into);
    Ok(())
}

/// Ranks the tables so that each comes after those that it refers to.
fn rank(references: &[Reference], into: &mut IntoExisting) {
    let mut open: BTreeSet<QualifiedName> = into.tables.keys().cloned().collect();
    let mut round = 0;
    while !open.is_empty() {
        let free: Vec<QualifiedName> = open
            .iter()
            .filter(|name| {
                !references.iter().any(|r| r.from == **name && r.to != **name && open.contains(&r.to))
            })
            .cloned()
            .collect();
        if free.is_empty() {
            into.conflicts.push(Conflict::ForeignKeyCycle { tables: open.into_iter().collect() });
            return;
        }
        for name in free {
            open.remove(&name);
            if let Some(plan) = into.tables.get_mut(&name) {
                plan.rank = round;
            }
        }
        round += 1;
    }
}

async fn triggers(session: &Session) -> Result<Vec<(QualifiedName, String, String)>, Error> {
    let sql = "SELECT n.nspname, c.relname, t.tgname, t.tgenabled FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid \
               JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT t.tgisinternal AND (t.tgtype & 4) > 0 ORDER BY 1, 2, 3";
    let rows = session.query("the target's triggers", sql).await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let mut fields = row.into_iter().flatten();
            let table = QualifiedName::new(fields.next()?, fields.next()?);
            Some((table, fields.next()?, fields.next()?))
        })
        .collect())
}

/// The tables that contain rows.
async fn occupied(session: &Session, into: &IntoExisting) -> Result<Vec<QualifiedName>, Error> {
    let mut names: Vec<&QualifiedName> =
        into.tables.keys().filter(|name| **name != large_objects_table()).collect();
    names.sort();
    let mut occupied = Vec::new();
    for batch in names.chunks(200) {
        let questions: Vec<String> = batch
            .iter()
            .enumerate()
            .map(|(at, name)| {
                let condition = into.tables.get(*name).map_or("", |plan| plan.condition.as_str());
                format!("SELECT {at} WHERE EXISTS (SELECT FROM {name} {condition})")
            })
            .collect();
        for row in session.query("the target's rows", &questions.join(" UNION ALL ")).await? {
            let at = row.into_iter().next().flatten().and_then(|at| at.parse::<usize>().ok());
            occupied.extend(at.and_then(|at| batch.get(at)).map(|name| (*name).clone()));
        }
    }
    Ok(occupied)
}

fn truncate(references: &[Reference], hypertables: &[QualifiedName], into: &mut IntoExisting) {
    for reference in references {
        if into.tables.contains_key(&reference.to) && !into.tables.contains_key(&reference.from) {
            into.conflicts.push(Conflict::Referenced {
                table: reference.to.clone(),
                referencing: reference.from.clone(),
            });
        }
    }
    let tables =
        into.tables.keys().filter(|name| **name != large_objects_table() && !into.config.contains(*name));
    // A hypertable cannot be truncated without its chunks, a partitioned table not without its partitions.
    let only = |name: &QualifiedName| match hypertables.contains(name) || into.divided.contains(name) {
        true => "",
        false => "ONLY ",
    };
    let mut names: Vec<String> = tables.map(|name| format!("{}{name}", only(name))).collect();
    names.sort();
    if !names.is_empty() {
        into.before.push(format!("TRUNCATE {}", names.join(", ")));
    }
    // The extension's own rows stay. Referencing tables come first.
    let mut open: Vec<QualifiedName> = into.config.iter().cloned().collect();
    while !open.is_empty() {
        let referred = |name: &QualifiedName| {
            references.iter().any(|r| r.to == *name && r.from != *name && open.contains(&r.from))
        };
        let at = open.iter().position(|name| !referred(name)).unwrap_or(0);
        let name = open.remove(at);
        let condition = into.tables.get(&name).map_or("", |plan| plan.condition.as_str());
        into.before.push(format!("DELETE FROM {name} {condition}"));
    }
}

/// Sequences continue where those of the source stopped: matched by the owning column, otherwise by name.
async fn sequences(session: &Session, catalog: &Catalog, into: &mut IntoExisting) -> Result<(), Error> {
    for sequence in &catalog.sequences {
        let Some(value) = &sequence.value else { continue };
        if sequence.meta.extension.is_some() && !catalog.is_config_sequence(sequence) {
            continue;
        }
        let name = sequence.name();
        let find = match &sequence.owned_by {
            Some(owner) if into.tables.contains_key(&owner.table) => format!(
                "SELECT coalesce(pg_get_serial_sequence({0}, {1}), to_regclass({2})::text)",
                literal(&owner.table.to_string()),
                literal(&owner.column),
                literal(&name.to_string())
            ),
            Some(_) => continue,
            None => format!("SELECT to_regclass({})::text", literal(&name.to_string())),
        };
        let Some(found) = session.value(&format!("sequence {name}"), &find).await? else {
            into.warnings.push(Warning::MissingSequence { sequence: name });
            continue;
        };
        let last = value.last;
        let sql = if into.append {
            format!(
                "SELECT pg_catalog.setval({0}, greatest(last_value, {last}), is_called OR {1}) FROM {found}",
                literal(&found),
                value.called
            )
        } else {
            format!("SELECT pg_catalog.setval({}, {last}, {})", literal(&found), value.called)
        };
        into.values.push((found.clone(), last, value.called));
        into.after.push((format!("sequence {found}"), sql));
    }
    Ok(())
}

/// Existing materialized views of the same name are refreshed.
async fn materialized_views(
    session: &Session,
    catalog: &Catalog,
    into: &mut IntoExisting,
) -> Result<(), Error> {
    use crate::catalog::table::TableKind;
    let sql = "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'm'";
    let here: BTreeSet<QualifiedName> =
        QualifiedName::of_rows(session.query("the target's materialized views", sql).await?);
    let mut views: Vec<_> = catalog
        .tables
        .iter()
        .filter(|table| {
            table.kind == TableKind::MaterializedView && table.populated && here.contains(&table.name())
        })
        .collect();
    // A view can only read views that are older.
    views.sort_by_key(|table| table.meta.oid);
    for view in views {
        let name = view.name();
        into.after.push((format!("materialized view {name}"), format!("REFRESH MATERIALIZED VIEW {name}")));
        into.views.insert(name);
    }
    Ok(())
}
