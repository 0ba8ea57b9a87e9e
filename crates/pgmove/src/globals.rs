//! What belongs to a whole cluster and not to one database: roles, memberships, settings of roles, tablespaces.

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::catalog::query::rows;
use crate::connect::{ConnectOptions, Session, connect};
use crate::ddl::database::assignment;
use crate::quote::{ident, literal};

/// The global objects of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Globals {
    /// The server that they were read from (`server_version_num`).
    pub server_version_num: u32,
    /// Roles, without those that the server brings with it.
    pub roles: Vec<Role>,
    /// Who is a member of what.
    pub memberships: Vec<Membership>,
    /// Tablespaces, without the server's own two.
    pub tablespaces: Vec<Tablespace>,
    /// Whether password hashes were read.
    pub passwords: bool,
}

/// A role. It shows no password in debugging output.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// What it is and may, ready for `CREATE ROLE … WITH`.
    pub options: String,
    /// The password's hash, where it was asked for and is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// The comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Its settings in every database, `name=value`.
    #[serde(default)]
    pub settings: Vec<String>,
}

impl std::fmt::Debug for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Role({} {})", self.name, self.options)
    }
}

/// One row of `pg_auth_members`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The role that gives its rights.
    pub role: String,
    /// The role that has them by it.
    pub member: String,
    /// `WITH ADMIN OPTION`
    pub admin: bool,
    /// `INHERIT` (16 and newer).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inherit: Option<bool>,
    /// `SET` (16 and newer).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<bool>,
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
    /// Its options, `name=value`.
    #[serde(default)]
    pub options: Vec<String>,
}

/// Reads the global objects. `passwords` asks for the hashes too, which only a superuser may read.
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
    let (inherit, set) = match version {
        160_000.. => ("m.inherit_option", "m.set_option"),
        _ => ("NULL", "NULL"),
    };
    let memberships = rows(
        client,
        "memberships",
        &format!(
            "SELECT DISTINCT a.rolname AS role, b.rolname AS member, m.admin_option AS admin, {inherit} AS inherit, {set} AS set \
             FROM pg_auth_members m JOIN pg_roles a ON a.oid = m.roleid JOIN pg_roles b ON b.oid = m.member \
             WHERE b.rolname !~ '^pg_' ORDER BY 1, 2"
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
    Ok(Globals { server_version_num: version, roles, memberships, tablespaces, passwords })
}

/// A statement that makes a global object, and what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalStatement {
    /// The object, in words.
    pub object: String,
    /// The statement. It may hold a password's hash: not for logs.
    pub sql: String,
}

impl Globals {
    /// Statements that make everything that is not there already, by what `has_role` and `has_tablespace` say.
    pub fn statements(
        &self,
        target_version_num: u32,
        has_role: &dyn Fn(&str) -> bool,
        has_tablespace: &dyn Fn(&str) -> bool,
    ) -> Vec<GlobalStatement> {
        let mut out = Vec::new();
        let mut push = |object: String, sql: String| out.push(GlobalStatement { object, sql });
        let fresh: Vec<&Role> = self.roles.iter().filter(|role| !has_role(&role.name)).collect();
        for role in &fresh {
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
        for membership in &self.memberships {
            // What an existing role is a member of is that server's business.
            if !fresh.iter().any(|role| role.name == membership.member || role.name == membership.role) {
                continue;
            }
            let (role, member) = (ident(&membership.role), ident(&membership.member));
            let mut with = Vec::new();
            if target_version_num >= 160_000 {
                with.push(format!("ADMIN {}", membership.admin));
                with.extend(membership.inherit.map(|inherit| format!("INHERIT {inherit}")));
                with.extend(membership.set.map(|set| format!("SET {set}")));
            } else if membership.admin {
                with.push("ADMIN OPTION".to_owned());
            }
            let with = if with.is_empty() { String::new() } else { format!(" WITH {}", with.join(", ")) };
            push(format!("membership of {member} in {role}"), format!("GRANT {role} TO {member}{with}"));
        }
        for space in self.tablespaces.iter().filter(|space| !has_tablespace(&space.name)) {
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

/// What became of global objects at a target.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct GlobalsReport {
    /// Roles and tablespaces that were there already, and were left as they are.
    pub there: Vec<String>,
    /// How many statements ran.
    pub ran: usize,
}

/// Makes the global objects that the target's server lacks. What is there already stays as it is.
///
/// # Errors
/// [`Error::Server`] with the object; what was made before it stays.
pub async fn apply_globals(options: &ConnectOptions, globals: &Globals) -> Result<GlobalsReport, Error> {
    let session = connect(&options.clone().with_database("postgres")).await?;
    let roles = names(&session, "SELECT rolname FROM pg_roles").await?;
    let spaces = names(&session, "SELECT spcname FROM pg_tablespace").await?;
    let mut report = GlobalsReport::default();
    let known_roles = globals.roles.iter().filter(|role| roles.contains(&role.name));
    report.there.extend(known_roles.map(|role| format!("role {}", role.name)));
    let known_spaces = globals.tablespaces.iter().filter(|space| spaces.contains(&space.name));
    report.there.extend(known_spaces.map(|space| format!("tablespace {}", space.name)));
    let statements =
        globals.statements(session.server().version_num, &|role| roles.contains(role), &|space| {
            spaces.contains(space)
        });
    for statement in statements {
        session.execute(&statement.object, &statement.sql).await?;
        report.ran += 1;
    }
    Ok(report)
}

async fn names(session: &Session, sql: &str) -> Result<std::collections::BTreeSet<String>, Error> {
    Ok(session.query("the server's names", sql).await?.into_iter().flatten().flatten().collect())
}
