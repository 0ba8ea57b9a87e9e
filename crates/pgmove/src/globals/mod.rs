//! Objects of a whole cluster (as in `pg_dumpall --globals-only`): roles, memberships, settings of roles, privileges on
//! parameters, tablespaces.

mod memberships;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::catalog::LeftOut;
use crate::catalog::query::rows;
use crate::connect::{ConnectOptions, Session, connect};
use crate::ddl::database::{assignment, parameter_grants};
use crate::quote::{ident, literal};

/// The global objects of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Globals {
    /// `server_version_num` of the server that they were read from.
    pub server_version_num: u32,
    /// Roles, without predefined ones.
    pub roles: Vec<Role>,
    /// Role memberships.
    pub memberships: Vec<Membership>,
    /// Tablespaces, without `pg_default` and `pg_global`.
    pub tablespaces: Vec<Tablespace>,
    /// Settings of all roles in all databases (`ALTER ROLE ALL SET`), as `name=value`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<String>,
    /// Privileges on configuration parameters (15 and newer).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<Parameter>,
    /// The bootstrap superuser, whose memberships need no grant (16 and newer).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub bootstrap: String,
    /// Whether password hashes were read.
    pub passwords: bool,
}

/// Privileges on a configuration parameter (`SET`, `ALTER SYSTEM`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// The privileges as `aclitem` text.
    pub acl: Vec<String>,
    /// The default privileges of every parameter.
    pub initial_acl: Vec<String>,
}

/// A role. Its `Debug` does not show the password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Its attributes, ready for `CREATE ROLE … WITH`.
    pub options: String,
    /// The password hash, if it was requested and is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// The comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Its settings in all databases, as `name=value`.
    #[serde(default)]
    pub settings: Vec<String>,
}

impl std::fmt::Debug for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Role({} {})", self.name, self.options)
    }
}

/// A row of `pg_auth_members`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The role whose privileges are granted.
    pub role: String,
    /// The member.
    pub member: String,
    /// `WITH ADMIN OPTION`
    pub admin: bool,
    /// `INHERIT` (16 and newer).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inherit: Option<bool>,
    /// `SET` (16 and newer).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<bool>,
    /// The grantor (16 and newer, where several may grant the same membership).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grantor: Option<String>,
}

/// A tablespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tablespace {
    /// Its name.
    pub name: String,
    /// Its owner.
    pub owner: String,
    /// Its folder at the source.
    pub location: String,
    /// Its options, as `name=value`.
    #[serde(default)]
    pub options: Vec<String>,
}

/// Reads the global objects, and the password hashes if `passwords` is true (superusers only).
///
/// # Errors
/// [`Error::Server`] when the role may not read them.
pub async fn read_globals(options: &ConnectOptions, passwords: bool) -> Result<Globals, Error> {
    let session = connect(options).await?;
    let version = session.server().version_num;
    let client = session.client();
    let (table, password) = match passwords {
        true => ("pg_authid", "r.rolpassword"),
        false => ("pg_roles", "NULL::text"),
    };
    let roles = rows(
        client,
        "roles",
        &format!(
            "SELECT r.rolname AS name, concat_ws(' ', CASE WHEN rolsuper THEN 'SUPERUSER' ELSE 'NOSUPERUSER' END, \
             CASE WHEN rolinherit THEN 'INHERIT' ELSE 'NOINHERIT' END, CASE WHEN rolcreaterole THEN 'CREATEROLE' ELSE 'NOCREATEROLE' END, \
             CASE WHEN rolcreatedb THEN 'CREATEDB' ELSE 'NOCREATEDB' END, CASE WHEN rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END, \
             CASE WHEN rolreplication THEN 'REPLICATION' ELSE 'NOREPLICATION' END, CASE WHEN rolbypassrls THEN 'BYPASSRLS' ELSE 'NOBYPASSRLS' END, \
             CASE WHEN rolconnlimit <> -1 THEN 'CONNECTION LIMIT ' || rolconnlimit END, \
             CASE WHEN rolvaliduntil IS NOT NULL THEN 'VALID UNTIL ' || quote_literal(rolvaliduntil) END) AS options, \
             {password} AS password, shobj_description(r.oid, 'pg_authid') AS comment, \
             coalesce((SELECT to_json(setconfig) FROM pg_db_role_setting s WHERE s.setrole = r.oid AND s.setdatabase = 0), '[]') AS settings \
             FROM {table} r WHERE r.rolname !~ '^pg_' ORDER BY r.rolname"
        ),
    )
    .await?;
    let (inherit, set, grantor) = match version {
        160_000.. => ("m.inherit_option", "m.set_option", "pg_get_userbyid(m.grantor)"),
        _ => ("NULL", "NULL", "NULL"),
    };
    let memberships = rows(
        client,
        "memberships",
        &format!(
            "SELECT DISTINCT a.rolname AS role, b.rolname AS member, m.admin_option AS admin, {inherit} AS inherit, {set} AS set, {grantor} AS grantor \
             FROM pg_auth_members m JOIN pg_roles a ON a.oid = m.roleid JOIN pg_roles b ON b.oid = m.member \
             WHERE b.rolname !~ '^pg_' ORDER BY 1, 2, 6"
        ),
    )
    .await?;
    let tablespaces = rows(
        client,
        "tablespaces",
        "SELECT spcname AS name, pg_get_userbyid(spcowner) AS owner, pg_tablespace_location(oid) AS location, \
         coalesce(to_json(spcoptions), '[]') AS options FROM pg_tablespace WHERE spcname !~ '^pg_' ORDER BY 1",
    )
    .await?;
    let settings: Vec<Setting> = rows(
        client,
        "settings of all roles",
        "SELECT unnest(setconfig) AS pair FROM pg_db_role_setting WHERE setrole = 0 AND setdatabase = 0",
    )
    .await?;
    let settings = settings.into_iter().map(|setting| setting.pair).collect();
    let parameters = match version {
        150_000.. => {
            let sql = "SELECT parname AS name, paracl::text[] AS acl, acldefault('p', 10)::text[] AS initial_acl \
                       FROM pg_parameter_acl ORDER BY 1";
            rows(client, "privileges on parameters", sql).await?
        }
        _ => Vec::new(),
    };
    let bootstrap =
        session.value("the first superuser", "SELECT pg_get_userbyid(10)").await?.unwrap_or_default();
    Ok(Globals {
        server_version_num: version,
        roles,
        memberships,
        tablespaces,
        settings,
        parameters,
        bootstrap,
        passwords,
    })
}

#[derive(Deserialize)]
struct Setting {
    pair: String,
}

/// A statement that creates a global object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalStatement {
    /// The object, such as `role app`.
    pub object: String,
    /// The statement. It may contain a password hash: do not log it.
    pub sql: String,
}

impl Globals {
    /// Statements that create the objects that the target's server lacks.
    pub fn statements(&self, target: &ExistingGlobals) -> Vec<GlobalStatement> {
        let mut out = Vec::new();
        let mut push = |object: String, sql: String| out.push(GlobalStatement { object, sql });
        let fresh: BTreeSet<&str> = self
            .roles
            .iter()
            .map(|role| role.name.as_str())
            .filter(|name| !target.roles.contains(*name))
            .collect();
        for role in self.roles.iter().filter(|role| fresh.contains(role.name.as_str())) {
            let name = ident(&role.name);
            let password = role.password.as_ref().map(|hash| format!(" PASSWORD {}", literal(hash)));
            let password = password.unwrap_or_default();
            push(format!("role {name}"), format!("CREATE ROLE {name} WITH {}{password}", role.options));
            for set in role.settings.iter().filter_map(|pair| assignment(pair)) {
                push(format!("settings of role {name}"), format!("ALTER ROLE {name} {set}"));
            }
            if let Some(comment) = &role.comment {
                push(format!("role {name}"), format!("COMMENT ON ROLE {name} IS {}", literal(comment)));
            }
        }
        for grant in memberships::statements(self, &fresh, target) {
            push(grant.object, grant.sql);
        }
        let held =
            |pair: &&String| !target.settings.iter().any(|there| setting_name(there) == setting_name(pair));
        for set in self.settings.iter().filter(held).filter_map(|pair| assignment(pair)) {
            push("settings of all roles".to_owned(), format!("ALTER ROLE ALL {set}"));
        }
        if target.version_num >= 150_000 {
            for parameter in &self.parameters {
                let object = format!("privileges on parameter {}", parameter.name);
                for sql in parameter.grants(&fresh, target) {
                    push(object.clone(), sql);
                }
            }
        }
        for space in self.tablespaces.iter().filter(|space| !target.tablespaces.contains(&space.name)) {
            let name = ident(&space.name);
            let sql = format!(
                "CREATE TABLESPACE {name} OWNER {} LOCATION {}",
                ident(&space.owner),
                literal(&space.location)
            );
            push(format!("tablespace {name}"), sql);
            if !space.options.is_empty() {
                push(
                    format!("tablespace {name}"),
                    format!("ALTER TABLESPACE {name} SET ({})", space.options.join(", ")),
                );
            }
        }
        out
    }
}

/// The name in a `name=value` pair.
fn setting_name(pair: &str) -> &str {
    pair.split_once('=').map_or(pair, |(name, _)| name)
}

/// Global objects that a target's server already has.
#[derive(Debug, Clone, Default)]
pub struct ExistingGlobals {
    /// `server_version_num` of the server.
    pub version_num: u32,
    /// Its roles, including predefined ones.
    pub roles: BTreeSet<String>,
    /// Its tablespaces.
    pub tablespaces: BTreeSet<String>,
    /// Its settings of all roles in all databases, as `name=value`.
    pub settings: BTreeSet<String>,
    /// Its privileges on parameters, as pairs of parameter and `aclitem`.
    pub parameters: BTreeSet<(String, String)>,
}

impl Parameter {
    /// The missing privileges that concern a new role or PUBLIC.
    fn grants(&self, fresh: &BTreeSet<&str>, target: &ExistingGlobals) -> Vec<String> {
        let there = |item: &&String| target.parameters.contains(&(self.name.clone(), (*item).clone()));
        let missing: Vec<String> = self.acl.iter().filter(|item| !there(item)).cloned().collect();
        parameter_grants(&self.name, &missing, &self.initial_acl, fresh)
    }
}

/// The result of [`apply_globals`].
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct GlobalsReport {
    /// Roles, tablespaces and settings that already existed and were left unchanged.
    pub there: Vec<String>,
    /// What this server does not support.
    pub left_out: Vec<LeftOut>,
    /// Number of executed statements.
    pub ran: usize,
}

/// Creates the global objects that the target's server lacks. Existing objects are left unchanged.
///
/// # Errors
/// [`Error::Server`] with the object; objects created before it remain.
pub async fn apply_globals(options: &ConnectOptions, globals: &Globals) -> Result<GlobalsReport, Error> {
    let session = connect(&options.clone().with_database("postgres")).await?;
    let all_settings =
        "SELECT unnest(setconfig) FROM pg_db_role_setting WHERE setrole = 0 AND setdatabase = 0";
    let present = ExistingGlobals {
        version_num: session.server().version_num,
        roles: names(&session, "SELECT rolname FROM pg_roles").await?,
        tablespaces: names(&session, "SELECT spcname FROM pg_tablespace").await?,
        settings: names(&session, all_settings).await?,
        parameters: match session.server().version_num {
            150_000.. => {
                pairs(&session, "SELECT parname, unnest(paracl)::text FROM pg_parameter_acl").await?
            }
            _ => BTreeSet::new(),
        },
    };
    let mut report = GlobalsReport { left_out: globals.left_out(&present), ..GlobalsReport::default() };
    let known_roles = globals.roles.iter().filter(|role| present.roles.contains(&role.name));
    report.there.extend(known_roles.map(|role| format!("role {}", role.name)));
    let known_spaces = globals.tablespaces.iter().filter(|space| present.tablespaces.contains(&space.name));
    report.there.extend(known_spaces.map(|space| format!("tablespace {}", space.name)));
    let known_settings = globals.settings.iter().filter(|pair| {
        !present.settings.contains(*pair)
            && present.settings.iter().any(|there| setting_name(there) == setting_name(pair))
    });
    report.there.extend(known_settings.map(|pair| format!("setting {} of all roles", setting_name(pair))));
    for statement in globals.statements(&present) {
        session.execute(&statement.object, &statement.sql).await?;
        report.ran += 1;
    }
    Ok(report)
}

impl Globals {
    /// What the target's server does not support.
    fn left_out(&self, target: &ExistingGlobals) -> Vec<LeftOut> {
        let mut out = memberships::left_out(self, target);
        if target.version_num < 150_000 {
            let named = self.parameters.iter();
            out.extend(
                named.map(|parameter| LeftOut::ParameterPrivileges { parameter: parameter.name.clone() }),
            );
        }
        out
    }
}

async fn names(session: &Session, sql: &str) -> Result<BTreeSet<String>, Error> {
    Ok(session.query("the server's names", sql).await?.into_iter().flatten().flatten().collect())
}

async fn pairs(session: &Session, sql: &str) -> Result<BTreeSet<(String, String)>, Error> {
    let pair = |row: Vec<Option<String>>| {
        let mut fields = row.into_iter().flatten();
        Some((fields.next()?, fields.next()?))
    };
    Ok(session.query("the server's names", sql).await?.into_iter().filter_map(pair).collect())
}
