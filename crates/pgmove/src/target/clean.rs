//! Dropping what is going to be made, and nothing else.
//!
//! The statements run once in a transaction that is rolled back, between two listings of everything that the database
//! holds. What is gone in the second and is no part of what the catalog holds would be lost: then the whole is
//! refused, by name. Only after that do the same statements run for good.

use std::collections::BTreeSet;

use crate::Error;
use crate::catalog::table::TableKind;
use crate::catalog::{Catalog, Meta, QualifiedName};
use crate::connect::Session;
use crate::quote::ident;

/// What will be dropped.
#[derive(Debug, Clone, Default)]
pub(super) struct Drops {
    statements: Vec<(String, String)>,
    /// What may go: relations, types and functions by their identity, and all parts of these relations.
    ours: BTreeSet<String>,
}

/// The kind of views whose rows TimescaleDB keeps.
const AGGREGATE: &str = "CONTINUOUS AGGREGATE";

/// How many of the victims are named.
const NAMED: usize = 10;

impl Drops {
    /// Every object of the catalog, in an order that hardly matters: each is dropped with what depends on it.
    pub(super) fn of(catalog: &Catalog) -> Drops {
        let mut drops = Drops::default();
        // Those that read others first, for they keep them from being dropped.
        for aggregate in catalog.timescale.iter().flat_map(|timescale| timescale.aggregates.iter().rev()) {
            let name = aggregate.name.to_string();
            drops.add(AGGREGATE, &name, format!("DROP MATERIALIZED VIEW IF EXISTS {name} CASCADE"));
        }
        let aggregate =
            |oid| catalog.timescale.as_ref().is_some_and(|timescale| timescale.aggregate(oid).is_some());
        for plain in catalog.plain.iter().filter(|plain| plain.meta.extension.is_none()) {
            if let Some(sql) = plain_drop(plain) {
                drops.add(plain.kind.keyword(), &plain.identity, sql);
            }
        }
        let own = |meta: &Meta| meta.extension.is_none() && !aggregate(meta.oid);
        for table in catalog.tables.iter().filter(|table| own(&table.meta)) {
            let name = table.name().to_string();
            let kind = match table.kind {
                TableKind::Ordinary | TableKind::Partitioned => "TABLE",
                TableKind::View => "VIEW",
                TableKind::MaterializedView => "MATERIALIZED VIEW",
                TableKind::Foreign => "FOREIGN TABLE",
            };
            drops.add(kind, &name, format!("DROP {kind} IF EXISTS {name} CASCADE"));
        }
        for function in catalog.functions.iter().filter(|function| function.meta.extension.is_none()) {
            let identity = format!("{}({})", function.meta.qualified(), function.arguments);
            let kind = if function.procedure { "PROCEDURE" } else { "FUNCTION" };
            drops.add(kind, &identity, format!("DROP {kind} IF EXISTS {identity} CASCADE"));
        }
        for aggregate in catalog.aggregates.iter().filter(|aggregate| aggregate.meta.extension.is_none()) {
            let identity = format!("{}({})", aggregate.meta.qualified(), aggregate.arguments);
            drops.add("AGGREGATE", &identity, format!("DROP AGGREGATE IF EXISTS {identity} CASCADE"));
        }
        for sequence in catalog.sequences.iter().filter(|sequence| sequence.meta.extension.is_none()) {
            let name = sequence.name().to_string();
            drops.add("SEQUENCE", &name, format!("DROP SEQUENCE IF EXISTS {name} CASCADE"));
        }
        for kind in catalog.types.iter().filter(|kind| kind.meta.extension.is_none()) {
            let name = kind.meta.qualified();
            drops.add("TYPE", &name, format!("DROP TYPE IF EXISTS {name} CASCADE"));
        }
        for statistics in &catalog.statistics {
            let name = statistics.meta.qualified();
            drops.add("STATISTICS", &name, format!("DROP STATISTICS IF EXISTS {name}"));
        }
        for object in &catalog.large_objects {
            let oid = &object.meta.name;
            let sql = format!(
                "SELECT pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata WHERE oid = {oid}"
            );
            drops.add("LARGE OBJECT", oid, sql);
        }
        drops
    }

    fn add(&mut self, kind: &str, identity: &str, sql: String) {
        self.ours.insert(identity.to_owned());
        self.statements.push((format!("{} {identity}", kind.to_lowercase()), sql));
    }

    /// Tries it out, and gives what would be lost beside what is to be replaced.
    pub(super) async fn victims(&self, session: &Session) -> Result<Vec<String>, Error> {
        session.execute("the trial of dropping", "BEGIN; SET LOCAL lock_timeout = '60s'").await?;
        let tried = self.try_out(session).await;
        session.execute("the trial of dropping", "ROLLBACK").await?;
        let mut victims = tried?;
        let total = victims.len();
        victims.truncate(NAMED);
        if total > NAMED {
            victims.push(format!("… and {} more", total - NAMED));
        }
        Ok(victims)
    }

    async fn try_out(&self, session: &Session) -> Result<Vec<String>, Error> {
        let before = everything(session).await?;
        self.run(session).await?;
        let after = everything(session).await?;
        let lost = before.difference(&after);
        let foreign = lost.filter(|(owner, _)| !self.ours.contains(owner));
        Ok(foreign
            .map(|(_, said)| format!("{said} depends on what would be replaced, and would be lost"))
            .collect())
    }

    /// Drops for good, in one transaction.
    pub(super) async fn carry_out(&self, session: &Session) -> Result<(), Error> {
        session.execute("dropping what will be replaced", "BEGIN").await?;
        self.run(session).await?;
        session.execute("dropping what will be replaced", "COMMIT").await
    }

    async fn run(&self, session: &Session) -> Result<(), Error> {
        for (object, sql) in &self.statements {
            // A schema or a type of an argument that is not there means that the object is not there either:
            // IF EXISTS says so for most kinds, and `3F000`, `42704` for the rest.
            session.execute("dropping", "SAVEPOINT one").await?;
            match session.execute(&format!("dropping {object}"), sql).await {
                Ok(()) => session.execute("dropping", "RELEASE one").await?,
                // 42809: there is no such aggregate, but something else of that name, which will collide.
                Err(error)
                    if matches!(error.sqlstate(), Some("3F000" | "42704" | "42883" | "42P01"))
                        || (error.sqlstate() == Some("42809")
                            && object.starts_with(&AGGREGATE.to_lowercase())) =>
                {
                    session.execute("dropping", "ROLLBACK TO one; RELEASE one").await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The statement that drops one of the plain kinds; nothing for what goes away with its table or its publication.
fn plain_drop(plain: &crate::catalog::plain::Plain) -> Option<String> {
    use crate::catalog::plain::PlainKind;
    match plain.kind {
        PlainKind::PublicationTable | PlainKind::PublicationSchema => None,
        // Nothing depends on a mapping, and the server knows no CASCADE for it.
        PlainKind::UserMapping => Some(format!("DROP USER MAPPING IF EXISTS {}", plain.identity)),
        // Without its slot it goes alone; with it, the publisher would be asked to drop the slot. What takes its place
        // has the same slot.
        PlainKind::Subscription => {
            let name = &plain.identity;
            Some(format!(
                "ALTER SUBSCRIPTION {name} DISABLE; ALTER SUBSCRIPTION {name} SET (slot_name = NONE); DROP SUBSCRIPTION {name}"
            ))
        }
        PlainKind::EventTrigger => Some(format!("DROP EVENT TRIGGER IF EXISTS {}", plain.identity)),
        kind => Some(format!("DROP {} IF EXISTS {} CASCADE", kind.keyword(), plain.identity)),
    }
}

/// Everything that a DROP … CASCADE can take away: the object that it is a part of, and its description.
async fn everything(session: &Session) -> Result<BTreeSet<(String, String)>, Error> {
    // Each part of a relation is said with the relation that it belongs to.
    let part = |said: &str, from: &str| {
        format!(
            "SELECT n.nspname, c.relname, NULL, {said} || ' of ' || c.oid::regclass FROM ({from}) x \
             JOIN pg_class c ON c.oid = x.rel JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'"
        )
    };
    let unqualified = |said: &str, name: &str, catalog: &str| {
        format!("SELECT NULL, {name}, NULL, '{said} ' || quote_ident({name}) FROM {catalog}")
    };
    let sql = [
        "SELECT n.nspname, c.relname, NULL, 'relation ' || c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'"
            .to_owned(),
        part("'column ' || quote_ident(x.name)", "SELECT attrelid AS rel, attname AS name FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped"),
        part("'default of column number ' || x.name", "SELECT adrelid AS rel, adnum AS name FROM pg_attrdef"),
        part("'constraint ' || quote_ident(x.name)", "SELECT conrelid AS rel, conname AS name FROM pg_constraint"),
        part("'index ' || x.name::regclass", "SELECT indrelid AS rel, indexrelid AS name FROM pg_index"),
        part("'trigger ' || quote_ident(x.name)", "SELECT tgrelid AS rel, tgname AS name FROM pg_trigger WHERE NOT tgisinternal"),
        part("'rule ' || quote_ident(x.name)", "SELECT ev_class AS rel, rulename AS name FROM pg_rewrite"),
        part("'policy ' || quote_ident(x.name)", "SELECT polrelid AS rel, polname AS name FROM pg_policy"),
        "SELECT n.nspname, p.proname, pg_get_function_identity_arguments(p.oid), 'function ' || p.oid::regprocedure FROM pg_proc p \
         JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'"
            .to_owned(),
        "SELECT n.nspname, t.typname, NULL, 'type ' || format_type(t.oid, NULL) FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace \
         WHERE (t.typrelid = 0 OR EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c')) AND t.typcategory <> 'A' \
         AND t.typtype <> 'm' AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'"
            .to_owned(),
        unqualified("server", "srvname", "pg_foreign_server"),
        unqualified("foreign-data wrapper", "fdwname", "pg_foreign_data_wrapper"),
        unqualified("extension", "extname", "pg_extension"),
        unqualified("event trigger", "evtname", "pg_event_trigger"),
    ]
    .join(" UNION ALL ");
    let rows = session.query("what the target holds", &sql).await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let mut fields = row.into_iter();
            let (schema, name, arguments) = (fields.next()?, fields.next()??, fields.next()?);
            // Chunks go with their hypertable, which is listed itself.
            if schema.as_deref() == Some("_timescaledb_internal") {
                return None;
            }
            let owner = match (schema, arguments) {
                (Some(schema), Some(arguments)) => {
                    format!("{}({arguments})", QualifiedName::new(schema, name))
                }
                (Some(schema), None) => QualifiedName::new(schema, name).to_string(),
                (None, _) => ident(&name).into_owned(),
            };
            Some((owner, fields.next()??))
        })
        .collect())
}

/// The relations, types and functions of the catalog that exist already: what would collide in a target that may hold
/// other things.
pub(super) async fn collisions(session: &Session, catalog: &Catalog) -> Result<Vec<String>, Error> {
    let here: BTreeSet<String> = everything(session).await?.into_iter().map(|(owner, _)| owner).collect();
    let tables = catalog.tables.iter().map(|t| (&t.meta, "table", t.name().to_string()));
    let sequences = catalog.sequences.iter().map(|s| (&s.meta, "sequence", s.name().to_string()));
    let types = catalog.types.iter().map(|t| (&t.meta, "type", t.meta.qualified()));
    let functions = catalog
        .functions
        .iter()
        .map(|f| (&f.meta, "function", format!("{}({})", f.meta.qualified(), f.arguments)));
    let mut found: Vec<String> = tables
        .chain(sequences)
        .chain(types)
        .chain(functions)
        .filter(|(meta, _, name)| meta.extension.is_none() && here.contains(name))
        .map(|(_, kind, name)| format!("{kind} {name} is here already"))
        .collect();
    let total = found.len();
    found.truncate(NAMED);
    if total > NAMED {
        found.push(format!("… and {} more", total - NAMED));
    }
    if total > 0 {
        found.push(
            "--clean drops what is going to be made; --data-only brings only rows into it; another database is safest"
                .to_owned(),
        );
    }
    Ok(found)
}

/// Schemas that are here already need not be made.
pub(super) async fn schemas(session: &Session) -> Result<BTreeSet<String>, Error> {
    let rows = session.query("the target's schemas", "SELECT nspname FROM pg_namespace").await?;
    Ok(rows.into_iter().flatten().flatten().map(|name| ident(&name).into_owned()).collect())
}
