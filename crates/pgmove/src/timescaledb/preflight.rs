//! Conflicts with a target, found before anything is written.

use std::collections::BTreeSet;

use super::conflict::TimescaleConflict;
use super::{NAME, installed, numbers, too_old, untried};
use crate::catalog::rule::{Firing, Trigger};
use crate::catalog::{Catalog, QualifiedName};
use crate::connect::Session;
use crate::ddl::RenderOptions;
use crate::error::Error;
use crate::quote::literal;
use crate::timescaledb::model::Timescale;

/// All conflicts.
pub(crate) async fn conflicts(
    target: &Session,
    catalog: &Catalog,
    options: &RenderOptions,
    try_untried: bool,
) -> Result<Vec<TimescaleConflict>, Error> {
    let mut conflicts = Vec::new();
    let sql = format!(
        "SELECT coalesce(installed_version, default_version) FROM pg_available_extensions WHERE name = {}",
        literal(NAME)
    );
    let here = installed(target).await?;
    let comes = catalog.extensions.iter().any(|extension| extension.meta.name == NAME);
    let Some(version) = target.value("the available extensions", &sql).await? else {
        // If the extension is restored too, this is already reported.
        if !comes {
            conflicts.push(TimescaleConflict::NotOffered);
        }
        return Ok(conflicts);
    };
    let untested = untried(&version).filter(|_| !try_untried);
    let old = too_old(&version).map(|detail| TimescaleConflict::Version { detail, untested: false });
    let untested = untested.map(|detail| TimescaleConflict::Version { detail, untested: true });
    conflicts.extend(old.or(untested));
    // Without the preloaded library, neither planner nor jobs support hypertables. Not every role may read
    // `shared_preload_libraries`, but every role may read which settings exist.
    let preloaded = "SELECT 1 FROM pg_settings WHERE name LIKE 'timescaledb.%' LIMIT 1";
    if !here && target.value("the libraries", preloaded).await?.is_none() {
        conflicts.push(TimescaleConflict::NotPreloaded);
    }
    if !here && !comes {
        conflicts.push(TimescaleConflict::NotCreated);
    }
    if let (true, Some(timescale)) = (here, &catalog.timescale) {
        conflicts.extend(other_schema(target, timescale).await?);
    }
    conflicts.extend(disabled_triggers(catalog, &version));
    conflicts.extend(sleeping_owners(target, catalog, options).await?);
    Ok(conflicts)
}

/// Definitions qualify the extension's functions with their schema.
async fn other_schema(target: &Session, timescale: &Timescale) -> Result<Option<TimescaleConflict>, Error> {
    let here = schema(target).await?.filter(|here| *here != timescale.schema);
    Ok(here.map(|here| TimescaleConflict::Schema { here, at_source: timescale.schema.clone() }))
}

/// Schema of the extension's public functions in a database that has it.
pub(crate) async fn schema(session: &Session) -> Result<Option<String>, Error> {
    let sql = format!(
        "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = {}",
        literal(NAME)
    );
    session.value("the extensions", &sql).await
}

/// Triggers of a hypertable can be disabled from 2.27 on, and from 2.28.3 on if chunks are compressed.
fn disabled_triggers(catalog: &Catalog, version: &str) -> Vec<TimescaleConflict> {
    let Some(timescale) = &catalog.timescale else { return Vec::new() };
    let knows = numbers(version) >= (2, 27);
    let of_hypertable = |trigger: &&Trigger| timescale.hypertable(trigger.table_oid).is_some();
    let changed = catalog.triggers.iter().filter(|trigger| !knows && trigger.firing != Firing::Origin);
    changed
        .filter(of_hypertable)
        .map(|trigger| TimescaleConflict::Trigger {
            trigger: trigger.name.clone(),
            table: trigger.table.clone(),
            version: version.to_owned(),
            state: trigger.firing.keyword().to_owned(),
        })
        .collect()
}

async fn sleeping_owners(
    target: &Session,
    catalog: &Catalog,
    options: &RenderOptions,
) -> Result<Vec<TimescaleConflict>, Error> {
    let owners: BTreeSet<&str> = match &catalog.timescale {
        Some(timescale) if !options.no_owner => {
            timescale.jobs.iter().map(|job| options.role(&job.owner)).collect()
        }
        _ => BTreeSet::new(),
    };
    let sleepers = "SELECT rolname FROM pg_roles WHERE NOT rolcanlogin";
    let roles = target.query("the roles", sleepers).await?.into_iter().flatten().flatten();
    Ok(roles
        .filter(|role| owners.contains(role.as_str()))
        .map(|role| TimescaleConflict::JobOwner { role })
        .collect())
}

/// The reason if rows must not be read from or written to this database: it is in the mode set by
/// `timescaledb_pre_restore()`, in which a hypertable is an ordinary table. It then accepts rows but returns none,
/// without an error.
pub(crate) async fn restoring(session: &Session) -> Result<Option<TimescaleConflict>, Error> {
    // The session has the setting from its start; later sessions get the current setting of the database.
    let on = "('on', 'true', 'yes', '1', 't', 'y')";
    let sql = format!(
        "SELECT 1 WHERE lower(current_setting('timescaledb.restoring', true)) IN {on} OR EXISTS (SELECT FROM pg_db_role_setting s, unnest(s.setconfig) pair \
         WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())) \
         AND s.setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = current_user)) \
         AND split_part(lower(pair), '=', 1) = 'timescaledb.restoring' AND split_part(lower(pair), '=', 2) IN {on})"
    );
    let found = session.value("TimescaleDB's restoring mode", &sql).await?;
    let database = session.server().database.clone();
    Ok(found.map(|_| TimescaleConflict::Restoring { database }))
}

/// Whether the installed extension is the Apache edition.
pub(super) async fn is_apache(session: &Session) -> Result<bool, Error> {
    let sql = "SELECT current_setting('timescaledb.license', true)";
    Ok(session.value("TimescaleDB's license", sql).await?.as_deref() == Some("apache"))
}

/// What the target's license does not allow, as far as it can be determined before the extension is created.
pub(crate) async fn license(target: &Session, catalog: &Catalog) -> Result<Vec<TimescaleConflict>, Error> {
    match &catalog.timescale {
        Some(timescale) if installed(target).await? && is_apache(target).await? => {
            Ok(requires_full_license(timescale))
        }
        _ => Ok(Vec::new()),
    }
}

/// Features that a server under the Apache license (`timescaledb.license`) lacks.
pub(crate) fn requires_full_license(timescale: &Timescale) -> Vec<TimescaleConflict> {
    let lacking =
        |what: &str, name: &QualifiedName| TimescaleConflict::License { object: format!("{what} {name}") };
    let mut found = Vec::new();
    for table in timescale.hypertables.iter().filter(|table| table.compression.is_some()) {
        found.push(lacking("compression of hypertable", &table.name));
    }
    for aggregate in &timescale.aggregates {
        found.push(lacking("continuous aggregate", &aggregate.name));
    }
    for job in &timescale.jobs {
        found.push(match &job.relation {
            Some(relation) => lacking(&format!("job {} on", job.procedure), relation),
            None => lacking("job", &job.procedure),
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::table::TableKind;

    #[test]
    fn an_older_version_gets_no_disabled_trigger() {
        let name = QualifiedName::new("public", "h");
        let trigger = |firing| Trigger {
            oid: 1,
            name: "t".into(),
            table_oid: 7,
            table: name.clone(),
            table_kind: TableKind::Ordinary,
            definition: String::new(),
            firing,
            inherited: false,
        };
        let table = serde_json::from_value(serde_json::json!({
            "oid": 7, "schema": "public", "name": "h", "dimensions": []
        }));
        let timescale = Timescale { hypertables: vec![table.unwrap()], ..Timescale::default() };
        let catalog = |firing| Catalog {
            triggers: vec![trigger(firing)],
            timescale: Some(timescale.clone()),
            ..Catalog::default()
        };
        assert_eq!(disabled_triggers(&catalog(Firing::Disabled), "2.24.0").len(), 1);
        assert_eq!(disabled_triggers(&catalog(Firing::Origin), "2.24.0").len(), 0);
        assert_eq!(disabled_triggers(&catalog(Firing::Always), "2.28.3").len(), 0);
    }
}
