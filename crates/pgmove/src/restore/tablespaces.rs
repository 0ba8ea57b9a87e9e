//! Tablespaces, which belong to a server and not to a database: those of a catalog must exist on the target, or be
//! mapped.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::TargetOptions;
use crate::Error;
use crate::catalog::Catalog;
use crate::conflict::Conflict;
use crate::connect::Session;

/// The catalog with mapped tablespaces. Objects that would use the database's default tablespace name none.
pub(super) async fn mapped<'a>(
    session: &Session,
    catalog: &'a Catalog,
    options: &TargetOptions,
) -> Result<Cow<'a, Catalog>, Error> {
    if options.tablespace_map.is_empty() || options.no_tablespaces {
        return Ok(Cow::Borrowed(catalog));
    }
    let own = "SELECT t.spcname FROM pg_tablespace t JOIN pg_database d ON d.dattablespace = t.oid \
               WHERE d.datname = current_database()";
    let own = session.value("the database's tablespace", own).await?;
    let renamed = |name: &String| options.tablespace_map.get(name).unwrap_or(name).clone();
    let mut catalog = catalog.clone();
    let tables = catalog.tables.iter_mut().map(|table| &mut table.tablespace);
    let indexes = catalog.indexes.iter_mut().map(|index| &mut index.tablespace);
    for space in tables.chain(indexes) {
        *space = space.as_ref().map(renamed).filter(|name| Some(name) != own.as_ref());
    }
    for hypertable in catalog.timescale.iter_mut().flat_map(|timescale| &mut timescale.hypertables) {
        let mut seen = BTreeSet::new();
        let spaces = hypertable.tablespaces.iter().map(renamed);
        hypertable.tablespaces = spaces.filter(|name| seen.insert(name.clone())).collect();
    }
    Ok(Cow::Owned(catalog))
}

/// Missing tablespaces, and those in which this role may not create objects.
pub(super) async fn conflicts(session: &Session, catalog: &Catalog) -> Result<Vec<Conflict>, Error> {
    let used = used(catalog);
    if used.is_empty() {
        return Ok(Vec::new());
    }
    let sql = "SELECT spcname, has_tablespace_privilege(oid, 'CREATE') FROM pg_tablespace";
    let here: BTreeMap<String, bool> = session
        .query("the target's tablespaces", sql)
        .await?
        .into_iter()
        .filter_map(|row| {
            let mut fields = row.into_iter().flatten();
            Some((fields.next()?, fields.next()? == "t"))
        })
        .collect();
    let mut conflicts = Vec::new();
    for (name, objects) in used {
        let tablespace = name.to_owned();
        match here.get(name) {
            Some(true) => {}
            Some(false) => conflicts.push(Conflict::TablespacePrivilege { tablespace }),
            None => conflicts.push(Conflict::MissingTablespace { tablespace, objects }),
        }
    }
    Ok(conflicts)
}

/// The tablespaces that objects use, with these objects.
fn used(catalog: &Catalog) -> BTreeMap<&str, Vec<String>> {
    let tables = catalog
        .tables
        .iter()
        .filter_map(|table| Some((table.tablespace.as_deref()?, format!("table {}", table.name()))));
    let indexes = catalog.indexes.iter().filter_map(|index| {
        Some((index.tablespace.as_deref()?, format!("index {}", index.meta.qualified())))
    });
    let hypertables = catalog.timescale.iter().flat_map(|timescale| &timescale.hypertables);
    let attached = hypertables.flat_map(|table| {
        table.tablespaces.iter().map(|space| (space.as_str(), format!("hypertable {}", table.name)))
    });
    let mut used: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (space, object) in tables.chain(indexes).chain(attached) {
        used.entry(space).or_default().push(object);
    }
    used
}
