//! Plans a restore: renders the script and finds conflicts.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};

use super::build::Build;
use super::clean;
use super::existing;
use super::imported::Imported;
use super::options::{Existing, OnError, OnRows, TargetOptions};
use super::plan::{Drops, LARGE_OBJECT, RestorePlan, TablePlan};
use super::{resume, rights, tablespaces};
use crate::Error;
use crate::catalog::table::TableKind;
use crate::catalog::{Catalog, QualifiedName, large_objects_table};
use crate::compare::with_inherited_first;
use crate::conflict::Conflict;
use crate::connect::Session;
use crate::connect::value_settings::ValueSettings;
use crate::ddl::{self, RenderOptions, Script, Statement, required_roles};
use crate::quote::ident;
use crate::timescaledb::model::Aggregate;
use crate::timescaledb::{self, preflight};
use crate::warning::Warning;

/// What to restore, and where.
#[derive(Clone, Copy)]
struct Request<'a> {
    session: &'a Session,
    catalog: &'a Catalog,
    options: &'a RenderOptions,
    target: &'a TargetOptions,
}

/// Findings during planning.
#[derive(Default)]
struct Findings {
    conflicts: Vec<Conflict>,
    warnings: Vec<Warning>,
}

impl Findings {
    /// Adds conflicts, unless the server's errors are accepted: then these are warnings.
    fn refuse_or_warn(&mut self, on_error: OnError, found: Vec<Conflict>) {
        match on_error {
            OnError::Stop => self.conflicts.extend(found),
            OnError::Continue => self.warnings.extend(found.into_iter().map(Warning::Accepted)),
        }
    }
}

/// Finds all conflicts and renders the script.
pub(crate) async fn make(
    session: &Session,
    build: Build,
    catalog: &Catalog,
    options: &RenderOptions,
    target: &TargetOptions,
) -> Result<RestorePlan, Error> {
    let version = session.server().version_num;
    let request = Request { session, catalog, options, target };
    let recorded = catalog.left_out.iter().cloned().map(Warning::LeftOut).collect();
    let mut found = Findings { warnings: recorded, ..Findings::default() };
    let mut plan = RestorePlan {
        script: Script::default(),
        warnings: Vec::new(),
        drops: None,
        into: None,
        beyond: Vec::new(),
        timescale: catalog.timescale.clone(),
        hypertables: crate::timescaledb::lookup::hypertables(session).await?.into_iter().collect(),
        tables: tables_of(catalog),
        through: HashMap::new(),
        values: ValueSettings::of(&catalog.database),
        privileges: None,
        resume: None,
        statistics: Imported::default(),
    };
    let here = preflight::schema(session).await?;
    if let Some(timescale) = &mut plan.timescale {
        found.warnings.extend(Warning::recorded(&timescale.warnings));
        if let (Some(here), Existing::Into(_)) = (&here, target.existing) {
            timescale.schema.clone_from(here);
        }
    }
    if here.is_some() || catalog.timescale.is_some() {
        found.conflicts.extend(preflight::restoring(session).await?.map(Conflict::Timescaledb));
    }
    match target.existing {
        Existing::Into(on_rows) => into_tables(request, on_rows, &mut plan, &mut found).await?,
        _ => new_objects(request, &build, &mut plan, &mut found).await?,
    }
    source_and_versions(request, &plan, &mut found).await?;
    if plan.into.is_none() {
        let resumed = target.existing == Existing::Resume;
        let made = if resumed { with_inherited_first(catalog) } else { Cow::Borrowed(catalog) };
        plan.script = ddl::render(&made, version, options)?;
        if resumed {
            found.conflicts.extend(resume::settle(session, &mut plan, catalog, options).await?);
        }
    }
    let Findings { mut conflicts, mut warnings } = found;
    let mut seen = HashSet::new();
    conflicts.retain(|conflict| seen.insert(conflict.clone()));
    if !conflicts.is_empty() {
        let what = format!("cannot restore into {}", session.server());
        return Err(Error::Refused { what, conflicts });
    }
    if plan.into.is_none() {
        if target.existing != Existing::Refuse {
            let there = clean::schemas(session).await?;
            plan.script.statements.iter_mut().for_each(|statement| tolerate(statement, &there));
        }
        warnings.extend(plan.script.warnings.iter().cloned());
        leave_out_own_owner(session, &mut plan.script).await?;
    }
    plan.warnings = warnings;
    Ok(plan)
}

/// Whether text is converted between encodings.
fn encodings_differ(request: Request<'_>) -> bool {
    request.catalog.database.encoding != request.session.server().encoding
}

/// Plans a restore into existing tables: rows, sequences and large objects.
async fn into_tables(
    request: Request<'_>,
    on_rows: OnRows,
    plan: &mut RestorePlan,
    found: &mut Findings,
) -> Result<(), Error> {
    let Request { session, catalog, options, target } = request;
    let mut into = existing::plan(session, catalog, on_rows).await?;
    found.conflicts.append(&mut into.conflicts);
    found.warnings.append(&mut into.warnings);
    plan.tables = std::mem::take(&mut into.tables);
    let here = crate::timescaledb::lookup::aggregates(session).await?;
    for aggregate in catalog.aggregates() {
        let name = &aggregate.name;
        let Some(table) = here.get(name) else {
            found.warnings.push(Warning::MissingAggregate { aggregate: name.clone() });
            continue;
        };
        let holds = format!("SELECT 1 FROM {table} LIMIT 1");
        match on_rows {
            OnRows::Append => found.warnings.push(Warning::AggregateRows { aggregate: name.clone() }),
            OnRows::Refuse if session.value("the target's rows", &holds).await?.is_some() => {
                found.conflicts.push(Conflict::AggregateHoldsRows { aggregate: name.clone() });
            }
            _ => {
                plan.tables.insert(name.clone(), of_aggregate(aggregate));
            }
        }
    }
    found.conflicts.extend(plan.route_partitions(catalog, encodings_differ(request), Some(&into.divided)));
    plan.into = Some(into);
    found.warnings.extend(crate::timescaledb::lookup::running_jobs(session, &plan.tables).await?);
    // Large objects are data: they are restored with their owners and privileges even if the schema exists.
    let only = Catalog { large_objects: catalog.large_objects.clone(), ..Catalog::default() };
    found.conflicts.extend(missing_roles(session, &only, options, target).await?);
    plan.script = ddl::render(catalog, session.server().version_num, options)?;
    plan.script.statements.retain(|statement| statement.object.kind == LARGE_OBJECT);
    Ok(())
}

/// Plans a restore that creates the objects.
async fn new_objects(
    request: Request<'_>,
    build: &Build,
    plan: &mut RestorePlan,
    found: &mut Findings,
) -> Result<(), Error> {
    let Request { session, catalog, options, target } = request;
    match target.existing {
        Existing::Clean => {
            let mut drops = Drops::plan(session, catalog).await?;
            found.conflicts.append(&mut drops.conflicts);
            found.warnings.append(&mut drops.warnings);
            plan.drops = Some(drops);
        }
        Existing::Beside if target.sections.pre_data => {
            found.conflicts.extend(clean::collisions(session, catalog).await?);
        }
        Existing::Resume => {}
        _ if target.sections.pre_data => {
            found.conflicts.extend(clean::occupied(session, catalog).await?);
        }
        _ => {}
    }
    found.conflicts.extend(plan.route_partitions(catalog, encodings_differ(request), None));
    if !options.no_acl && has_default_privileges(session).await? {
        plan.privileges = Some(Box::new(catalog.clone()));
    }
    // If errors are accepted, the server refuses the statements that name missing roles, and the report lists each.
    let missing = missing_roles(session, catalog, options, target).await?;
    found.refuse_or_warn(target.on_error, missing);
    if target.sections.pre_data || target.sections.post_data {
        let rights = rights::to_make(session, catalog, options).await?;
        found.warnings.extend(rights.warnings);
        found.refuse_or_warn(target.on_error, rights.conflicts);
    }
    if !options.no_tablespaces {
        let lacking = tablespaces::conflicts(session, catalog).await?;
        found.refuse_or_warn(target.on_error, lacking);
    }
    extensions(session, catalog, found).await?;
    if timescaledb::is_needed(catalog) {
        let conflicts = preflight::conflicts(session, catalog, options, target.untried_extensions).await?;
        found.conflicts.extend(conflicts.into_iter().map(Conflict::Timescaledb));
        if target.on_error == OnError::Stop {
            let lacking = preflight::license(session, catalog).await?;
            found.conflicts.extend(lacking.into_iter().map(Conflict::Timescaledb));
        }
    }
    let tables = catalog.timescale.iter().flat_map(|timescale| &timescale.hypertables);
    plan.hypertables.extend(tables.map(|table| table.name.clone()));
    let version = session.server().version_num;
    let mut beyond = ddl::unsupported(catalog, version);
    if !build.icu {
        beyond.extend(ddl::needs_icu(catalog));
    }
    match target.on_error {
        OnError::Stop => found.conflicts.extend(beyond.into_iter().map(Conflict::Unsupported)),
        OnError::Continue => plan.beyond = beyond,
    }
    let lz4 = ddl::lz4_columns(catalog);
    if !build.lz4 && version >= 140_000 && !lz4.is_empty() {
        found.warnings.push(Warning::WithoutLz4 { columns: lz4 });
    }
    Ok(())
}

/// What the source contains that is not supported, and how the servers' settings and versions differ.
async fn source_and_versions(
    Request { session, catalog, options, target }: Request<'_>,
    plan: &RestorePlan,
    found: &mut Findings,
) -> Result<(), Error> {
    found.conflicts.extend(catalog.unsupported().iter().cloned().map(Conflict::Unsupported));
    if !target.untried_extensions {
        found.conflicts.extend(catalog.untried().map(Conflict::UntestedExtension));
    }
    let (from, to) = (&catalog.database.encoding, &session.server().encoding);
    if from != to {
        found.warnings.push(Warning::Encoding { at_source: from.clone(), here: to.clone() });
    }
    if plan.into.is_none() && catalog.filter.is_all() {
        found.warnings.extend(database_settings(session, catalog, options).await?);
    }
    let version = session.server().version_num;
    if version < catalog.server_version_num / 10_000 * 10_000 {
        let at_source = catalog.server_version_num / 10_000;
        found.warnings.push(Warning::OlderServer { here: version / 10_000, at_source });
    }
    Ok(())
}

/// Clears `ALTER … OWNER TO` the connected role, which owns what it creates anyway. The statements keep their positions,
/// because others depend on them.
async fn leave_out_own_owner(session: &Session, script: &mut Script) -> Result<(), Error> {
    const CREATED: [&str; 8] = [
        "TABLE",
        "SEQUENCE",
        "VIEW",
        "MATERIALIZED VIEW",
        "FUNCTION",
        "PROCEDURE",
        "AGGREGATE",
        "LARGE OBJECT",
    ];
    let Some(role) = session.value("the current role", "SELECT current_user").await? else { return Ok(()) };
    let owner = format!(" OWNER TO {}", ident(&role));
    for statement in script.statements.iter_mut().filter(|statement| statement.extension.is_none()) {
        let altered = statement.sql.strip_prefix("ALTER ").filter(|rest| rest.ends_with(&owner));
        if statement.owner.as_ref() == Some(&role)
            && altered.is_some_and(|rest| {
                CREATED.iter().any(|kind| rest.strip_prefix(kind).is_some_and(|rest| rest.starts_with(' ')))
            })
        {
            statement.sql.clear();
        }
    }
    Ok(())
}

/// An existing schema is not created again.
fn tolerate(statement: &mut Statement, there: &BTreeSet<String>) {
    if let Some(rest) = statement.sql.strip_prefix("CREATE SCHEMA ")
        && there.contains(&statement.object.name)
    {
        statement.sql = format!("CREATE SCHEMA IF NOT EXISTS {rest}");
    }
}

fn tables_of(catalog: &Catalog) -> HashMap<QualifiedName, TablePlan> {
    let of = |table: &crate::catalog::table::Table, condition: &str| TablePlan {
        columns: table.copy_columns().iter().map(|column| column.name.clone()).collect(),
        condition: condition.to_owned(),
        ..TablePlan::default()
    };
    let hypertable =
        |oid| catalog.timescale.as_ref().is_some_and(|timescale| timescale.hypertable(oid).is_some());
    let plain = catalog.data_tables().map(|table| {
        let freezes = table.kind == TableKind::Ordinary && !hypertable(table.meta.oid);
        (table.name(), TablePlan { freezes, ..of(table, "") })
    });
    let steps = catalog.config_steps();
    let config = catalog.config_tables().map(|(table, clause)| {
        let name = table.name();
        let rank = steps.get(&name).copied().unwrap_or_default();
        (name, TablePlan { rank, ..of(table, clause) })
    });
    let large = (!catalog.large_objects.is_empty()).then(|| (large_objects_table(), TablePlan::default()));
    let aggregates = catalog.aggregates().map(|aggregate| (aggregate.name.clone(), of_aggregate(aggregate)));
    plain.chain(config).chain(large).chain(aggregates).collect()
}

fn of_aggregate(aggregate: &Aggregate) -> TablePlan {
    TablePlan { columns: aggregate.columns.clone(), ..TablePlan::default() }
}

/// Whether new objects of this role get privileges other than the server's defaults.
async fn has_default_privileges(session: &Session) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM pg_default_acl WHERE defaclrole = (SELECT oid FROM pg_roles WHERE rolname = current_user) LIMIT 1";
    Ok(session.value("the default privileges", sql).await?.is_some())
}

/// Settings of the source's database, and of roles in it, that this database lacks. They are only set on a database
/// that the restore creates.
async fn database_settings(
    session: &Session,
    catalog: &Catalog,
    options: &RenderOptions,
) -> Result<Vec<Warning>, Error> {
    let sql = "SELECT r.rolname, unnest(s.setconfig) FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole \
               WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let here: BTreeSet<(Option<String>, String)> = session
        .query("the database's settings", sql)
        .await?
        .into_iter()
        .filter_map(|row| {
            let mut fields = row.into_iter();
            Some((fields.next()?, fields.next()??))
        })
        .collect();
    let mut missing = catalog.database.clone();
    for setting in &mut missing.settings {
        let role = setting.role.as_ref().map(|role| options.role(role).to_owned());
        setting.config.retain(|pair| !here.contains(&(role.clone(), pair.clone())));
    }
    let missing = ddl::database::settings(&missing, &session.server().database, options);
    Ok(missing.into_iter().map(|statement| Warning::DatabaseSetting { statement }).collect())
}

/// The roles of a server.
pub(crate) async fn roles(session: &Session) -> Result<BTreeSet<String>, Error> {
    let rows = session.query("the server's roles", "SELECT rolname FROM pg_roles").await?;
    // PUBLIC is not a role that could be missing.
    Ok(rows.into_iter().flatten().flatten().chain(["public".to_owned(), "PUBLIC".to_owned()]).collect())
}

async fn missing_roles(
    session: &Session,
    catalog: &Catalog,
    options: &RenderOptions,
    target: &TargetOptions,
) -> Result<Vec<Conflict>, Error> {
    let present = roles(session).await?;
    let exists = |role: &String| present.contains(role) || target.assumed_roles.contains(role);
    let by_name = options.no_owner && options.no_acl;
    Ok(required_roles(catalog, options)
        .into_iter()
        .filter(|(role, _)| !exists(role))
        .map(|(role, objects)| Conflict::MissingRole { role, objects: Vec::from_iter(objects), by_name })
        .collect())
}

async fn extensions(session: &Session, catalog: &Catalog, found: &mut Findings) -> Result<(), Error> {
    if catalog.extensions.is_empty() {
        return Ok(());
    }
    let sql = "SELECT name, coalesce(installed_version, default_version) FROM pg_available_extensions";
    let rows = session.query("the available extensions", sql).await?;
    let offered: HashMap<String, String> = rows
        .into_iter()
        .filter_map(|row| {
            let mut fields = row.into_iter();
            Some((fields.next()??, fields.next()?.unwrap_or_default()))
        })
        .collect();
    for extension in &catalog.extensions {
        let name = &extension.meta.name;
        match offered.get(name) {
            None => found.conflicts.push(Conflict::MissingExtension {
                extension: name.clone(),
                version: extension.version.clone(),
            }),
            Some(version) if *version != extension.version => {
                found.warnings.push(Warning::ExtensionVersion {
                    extension: name.clone(),
                    here: version.clone(),
                    at_source: extension.version.clone(),
                });
            }
            Some(_) => {}
        }
    }
    Ok(())
}
