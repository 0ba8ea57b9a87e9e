//! Creates the database itself, with the properties of the source's.

use crate::Error;
use crate::catalog::database::{DatabaseInfo, LocaleProvider};
use crate::conflict::Conflict;
use crate::connect::{ConnectOptions, Session, connect};
use crate::ddl::database;
use crate::quote::{ident, literal};

use super::TargetOptions;

/// Creates the database in `options`, with the encoding, the locale and the settings of `info`. It is created from
/// `template0`, through the maintenance database `postgres`.
///
/// # Errors
/// [`Error::Refused`] if a database of that name exists; the server's error if it cannot be created, for example for
/// lack of a locale.
pub async fn create_database(
    options: &ConnectOptions,
    info: &DatabaseInfo,
    settings: &TargetOptions,
) -> Result<(), Error> {
    let (name, session) = check(options, info, settings).await?;
    let object = format!("database {}", ident(&name));
    session.execute(&object, &create_statement(&name, info, session.server().version_num)).await?;
    for sql in database::statements(info, &name, &settings.render(), session.server().version_num) {
        session.execute(&object, &sql).await?;
    }
    Ok(())
}

/// Checks whether [`create_database`] can work; writes nothing.
///
/// # Errors
/// [`Error::Refused`] if a database of that name exists, or roles that it needs are missing.
pub async fn check_new_database(
    options: &ConnectOptions,
    info: &DatabaseInfo,
    settings: &TargetOptions,
) -> Result<(), Error> {
    check(options, info, settings).await.map(drop)
}

async fn check(
    options: &ConnectOptions,
    info: &DatabaseInfo,
    settings: &TargetOptions,
) -> Result<(String, Session), Error> {
    let name = options.database().to_owned();
    let session = connect(&options.clone().with_database("postgres")).await?;
    let there = format!("SELECT 1 FROM pg_database WHERE datname = {}", literal(&name));
    if session.value("the list of databases", &there).await?.is_some() {
        let what = format!("database {} cannot be made on {}", ident(&name), session.server());
        return Err(Error::refused(what, Conflict::DatabaseExists));
    }
    let object = format!("database {}", ident(&name));
    let present = super::planner::roles(&session).await?;
    let missing: Vec<Conflict> = database::roles(info, &settings.render())
        .into_iter()
        .filter(|(role, _)| !present.contains(role) && !settings.assumed_roles.contains(role))
        .map(|(role, uses)| Conflict::MissingDatabaseRole { role, uses: Vec::from_iter(uses) })
        .collect();
    if !missing.is_empty() {
        return Err(Error::Refused {
            what: format!("{object} cannot be made on {}", session.server()),
            conflicts: missing,
        });
    }
    Ok((name, session))
}

/// Drops a database that [`create_database`] created, unless it is in use: for a plan that is refused.
pub async fn drop_created_database(options: &ConnectOptions) -> Result<(), Error> {
    let name = ident(options.database()).into_owned();
    let session = connect(&options.clone().with_database("postgres")).await?;
    session.execute(&format!("database {name}"), &format!("DROP DATABASE IF EXISTS {name}")).await
}

/// `CREATE DATABASE`, with the options that the server's version supports.
fn create_statement(name: &str, info: &DatabaseInfo, version: u32) -> String {
    let mut sql = format!(
        "CREATE DATABASE {} WITH TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}",
        ident(name),
        literal(&info.encoding),
        literal(&info.collate),
        literal(&info.ctype)
    );
    let provider = match info.locale_provider {
        LocaleProvider::Libc => "libc",
        LocaleProvider::Icu => "icu",
        LocaleProvider::Builtin => "builtin",
    };
    if version >= 150_000 {
        sql += &format!(" LOCALE_PROVIDER {provider}");
        if let Some(locale) = &info.locale {
            let word =
                if info.locale_provider == LocaleProvider::Builtin { "BUILTIN_LOCALE" } else { "ICU_LOCALE" };
            sql += &format!(" {word} {}", literal(locale));
        }
        if let (Some(rules), 160_000..) = (&info.icu_rules, version) {
            sql += &format!(" ICU_RULES {}", literal(rules));
        }
    }
    if info.connection_limit >= 0 {
        sql += &format!(" CONNECTION LIMIT {}", info.connection_limit);
    }
    sql
}
