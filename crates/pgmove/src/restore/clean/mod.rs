//! Drops the objects that will be created, and nothing else.
//!
//! The target's catalog is read, and each object to restore is matched with the existing one of the same name. Other
//! objects that depend on these, and would be dropped with them, are found through the target's own dependencies;
//! then the restore is refused, by name, before anything is dropped. One transaction is used if the locks fit into
//! the server's lock table, otherwise several.

mod dependents;
mod named;

use std::collections::{BTreeSet, HashMap, HashSet};

use dependents::Dependents;
use named::{Named, Signatures, named};

use super::plan::{Drop, Drops};
use crate::Error;
use crate::catalog::{Address, Catalog, QualifiedName};
use crate::conflict::Conflict;
use crate::connect::Session;
use crate::quote::ident;
use crate::warning::Warning;

/// Maximum number of victims to name.
const NAMED: usize = 10;

impl Drops {
    /// Matches the objects to restore with existing ones. Changes nothing.
    pub(super) async fn plan(session: &Session, coming: &Catalog) -> Result<Drops, Error> {
        let here = super::read_back::read_catalog(session, &Default::default()).await?;
        let mut drops = Drops::default();
        let mut matched: Vec<Named> = Vec::new();
        for (object, there) in matches(coming, &here) {
            if let Some(conflict) = object.conflict(&there) {
                drops.conflicts.push(conflict);
            } else if there.drop.is_some() {
                matched.push(there);
            }
        }
        matched.sort_by(|a, b| (a.rank, &a.identity).cmp(&(b.rank, &b.identity)));
        matched.dedup_by(|a, b| a.address == b.address && a.drop == b.drop);
        let addresses: HashSet<Address> = matched.iter().map(|object| object.address).collect();

        let further = crate::timescaledb::lookup::aggregate_sources(session, &here).await?;
        let dependents = Dependents::of(&here, &further);
        let victims = dependents::describe(session, &dependents.victims(&addresses)).await?;
        let victims = victims.into_iter().map(|object| Conflict::Dependent { object });
        drops.conflicts.extend(first(victims.collect()));

        let planned = matched.into_iter().filter_map(|object| {
            Some(Drop {
                object: object.described(),
                locks: dependents.locks(object.address),
                sql: object.drop?,
            })
        });
        drops.batch(planned.collect(), lock_table(session).await?);
        drops.config_rows = config_tables(coming, &here)
            .into_iter()
            .map(|(table, condition)| (table.to_string(), format!("DELETE FROM {table} {condition}")))
            .collect();
        Ok(drops)
    }

    /// Splits the drops so that the locks of each transaction fit into half of the server's lock table; if all of
    /// them do, there is one transaction.
    fn batch(&mut self, planned: Vec<Drop>, capacity: u64) {
        let total: u64 = planned.iter().map(|drop| drop.locks).sum();
        if total <= capacity / 2 {
            self.batches = vec![planned];
            return;
        }
        let most = (capacity / 4).max(1);
        let mut held = 0;
        for drop in planned {
            if held == 0 || held + drop.locks > most {
                self.batches.push(Vec::new());
                held = 0;
            }
            held += drop.locks;
            if let Some(batch) = self.batches.last_mut() {
                batch.push(drop);
            }
        }
        self.warnings.push(Warning::DroppedInBatches {
            transactions: self.batches.len(),
            locks: total,
            capacity,
        });
    }

    /// Executes the drops.
    pub(super) async fn carry_out(&self, session: &Session) -> Result<(), Error> {
        for batch in &self.batches {
            session.execute("dropping what will be replaced", "BEGIN").await?;
            for drop in batch {
                execute(session, drop).await?;
            }
            session.execute("dropping what will be replaced", "COMMIT").await?;
        }
        if self.config_rows.is_empty() {
            return Ok(());
        }
        session.execute("emptying configuration tables", "BEGIN").await?;
        self.empty_config_tables(session).await?;
        session.execute("emptying configuration tables", "COMMIT").await
    }

    /// Referenced tables come after those that refer to them: a statement rejected because of a foreign key is
    /// retried.
    async fn empty_config_tables(&self, session: &Session) -> Result<(), Error> {
        let mut open: Vec<&(String, String)> = self.config_rows.iter().collect();
        while !open.is_empty() {
            let before = open.len();
            let mut refused = None;
            let mut left = Vec::new();
            for statement @ (table, sql) in open {
                let object = format!("emptying configuration table {table}");
                session.execute(&object, "SAVEPOINT one").await?;
                match session.execute(&object, sql).await {
                    Ok(()) => session.execute(&object, "RELEASE one").await?,
                    Err(error) if error.sqlstate() == Some("23503") => {
                        session.execute(&object, "ROLLBACK TO one; RELEASE one").await?;
                        refused = Some(error);
                        left.push(statement);
                    }
                    Err(error) => return Err(error),
                }
            }
            if let (Some(error), true) = (refused, left.len() == before) {
                return Err(error);
            }
            open = left;
        }
        Ok(())
    }
}

/// Runs one statement. An earlier one may have dropped its object too.
async fn execute(session: &Session, drop: &Drop) -> Result<(), Error> {
    let sql = format!("SAVEPOINT one; {}; RELEASE one", drop.sql);
    match session.execute(&format!("dropping {}", drop.object), &sql).await {
        Ok(()) => Ok(()),
        // If a schema or the type of an argument is gone, so is the object: IF EXISTS covers most kinds, and these
        // codes the others.
        Err(error) if matches!(error.sqlstate(), Some("3F000" | "42704" | "42883" | "42P01")) => {
            session.execute("dropping", "ROLLBACK TO one; RELEASE one").await
        }
        Err(error) => Err(error),
    }
}

impl Named {
    /// Why the object to restore cannot replace that one.
    fn conflict(&self, there: &Named) -> Option<Conflict> {
        let object = there.described();
        if self.kind != there.kind {
            return Some(Conflict::OtherKind { object, replacement: self.described() });
        }
        let extension = there.extension.clone()?;
        Some(Conflict::ExtensionMember { object, extension })
    }
}

/// Each object to restore, except those of extensions, with the existing one of its name.
fn matches(coming: &Catalog, here: &Catalog) -> Vec<(Named, Named)> {
    let signatures = Signatures::of(coming);
    let mut there: HashMap<_, Vec<Named>> = HashMap::new();
    for object in named(here, signatures) {
        there.entry((object.namespace, object.identity.clone())).or_default().push(object);
    }
    let mut found = Vec::new();
    for object in named(coming, signatures).into_iter().filter(|object| object.extension.is_none()) {
        let here = there.get(&(object.namespace, object.identity.clone()));
        found.extend(here.into_iter().flatten().map(|there| (object.clone(), there.clone())));
    }
    found
}

/// The configuration tables that are restored and exist, with the clause for the user's rows: restored rows would
/// collide with those.
fn config_tables(coming: &Catalog, here: &Catalog) -> Vec<(QualifiedName, String)> {
    let there: HashMap<QualifiedName, &str> =
        here.config_tables().map(|(table, condition)| (table.name(), condition)).collect();
    let coming = coming.config_tables().map(|(table, _)| table.name());
    coming
        .filter_map(|name| {
            let condition = (*there.get(&name)?).to_owned();
            Some((name, condition))
        })
        .collect()
}

/// The number of object locks that all sessions together can hold (`src/backend/storage/lmgr/lock.c`, `NLOCKENTS`).
async fn lock_table(session: &Session) -> Result<u64, Error> {
    let sql = "SELECT current_setting('max_locks_per_transaction')::int8 * \
               (current_setting('max_connections')::int8 + current_setting('max_prepared_transactions')::int8)";
    let found = session.value("the size of the server's lock table", sql).await?;
    Ok(found.and_then(|count| count.parse().ok()).unwrap_or(6400))
}

/// The first few of many, and the number of others.
fn first(mut found: Vec<Conflict>) -> Vec<Conflict> {
    let total = found.len();
    found.truncate(NAMED);
    if total > NAMED {
        found.push(Conflict::More { count: total - NAMED });
    }
    found
}

/// Existing objects under names that will be restored: collisions in a target that may contain other objects.
pub(super) async fn collisions(session: &Session, coming: &Catalog) -> Result<Vec<Conflict>, Error> {
    let here = super::read_back::read_catalog(session, &Default::default()).await?;
    let found: BTreeSet<String> =
        matches(coming, &here).into_iter().map(|(_, there)| there.described()).collect();
    Ok(first(found.into_iter().map(|object| Conflict::ObjectExists { object }).collect()))
}

/// Maximum number of objects of an occupied target to name.
const MAX_NAMED_OBJECTS: usize = 5;

/// The contents of the database, except for those of every new database and those of extensions; of configuration
/// tables, the rows that would collide with restored ones.
pub(super) async fn occupied(session: &Session, coming: &Catalog) -> Result<Vec<Conflict>, Error> {
    let here = super::read_back::read_catalog(session, &Default::default()).await?;
    let mut objects = named(&here, Signatures::Types);
    objects.retain(|object| object.extension.is_none() && object.drop.is_some());
    objects.sort_by(|a, b| (a.kind != "TABLE", &a.identity).cmp(&(b.kind != "TABLE", &b.identity)));
    let schemas =
        here.schemas.iter().filter(|schema| schema.meta.extension.is_none() && schema.meta.name != "public");
    let mut found: Vec<String> = objects.iter().map(Named::described).collect();
    found.extend(schemas.map(|schema| format!("schema {}", schema.meta.qualified())));
    let total = found.len();
    found.truncate(MAX_NAMED_OBJECTS);
    let mut conflicts: Vec<Conflict> =
        found.into_iter().map(|object| Conflict::NotEmpty { object }).collect();
    if total > MAX_NAMED_OBJECTS {
        conflicts.push(Conflict::More { count: total - MAX_NAMED_OBJECTS });
    }
    for (table, condition) in config_tables(coming, &here) {
        let holds = format!("SELECT 1 FROM {table} {condition} LIMIT 1");
        if session.value(&format!("the rows of {table}"), &holds).await?.is_some() {
            conflicts.push(Conflict::ConfigurationRows { table });
        }
    }
    Ok(conflicts)
}

/// Existing schemas, which need not be created.
pub(super) async fn schemas(session: &Session) -> Result<BTreeSet<String>, Error> {
    let rows = session.query("the target's schemas", "SELECT nspname FROM pg_namespace").await?;
    Ok(rows.into_iter().flatten().flatten().map(|name| ident(&name).into_owned()).collect())
}
