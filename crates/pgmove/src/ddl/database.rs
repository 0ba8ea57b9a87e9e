//! Statements for the database itself: owner, settings, comment, privileges.

use std::collections::{BTreeMap, BTreeSet};

use super::RenderOptions;
use super::acl::{self, GrantObject, Versions};
use crate::catalog::database::DatabaseInfo;
use crate::quote::{ident, literal};

/// Settings whose value is a list of names, which are quoted one by one (`GUC_LIST_QUOTE` in `guc_tables.c`).
const LISTS: &[&str] = &[
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// Statements that give database `name` the properties of the source's database.
pub(crate) fn statements(
    info: &DatabaseInfo,
    name: &str,
    options: &RenderOptions,
    target: u32,
) -> Vec<String> {
    let (unquoted, name) = (name.to_owned(), ident(name).into_owned());
    let mut out = Vec::new();
    if !options.no_owner && !info.meta.owner.is_empty() {
        out.push(format!("ALTER DATABASE {name} OWNER TO {}", ident(options.role(&info.meta.owner))));
    }
    out.extend(settings(info, &unquoted, options));
    if let Some(comment) = &info.comment {
        out.push(format!("COMMENT ON DATABASE {name} IS {}", literal(comment)));
    }
    if let (Some(acl), false) = (&info.meta.acl, options.no_acl) {
        let on = GrantObject {
            kind: "DATABASE",
            identity: &name,
            column: None,
            prefix: "",
            owner: &info.meta.owner,
        };
        out.extend(acl::commands(
            on,
            acl,
            info.meta.initial_acl.as_deref().unwrap_or_default(),
            options,
            // Database privileges are the same in all versions.
            Versions { source: target, target },
        ));
    }
    out
}

/// Statements for the settings of database `name`, and of roles in it.
pub(crate) fn settings(info: &DatabaseInfo, name: &str, options: &RenderOptions) -> Vec<String> {
    let name = ident(name);
    let mut out = Vec::new();
    for setting in &info.settings {
        let whose = match &setting.role {
            Some(role) => format!("ALTER ROLE {} IN DATABASE {name}", ident(options.role(role))),
            None => format!("ALTER DATABASE {name}"),
        };
        let carried = setting.config.iter().filter(|pair| !is_momentary(pair));
        out.extend(carried.filter_map(|pair| assignment(pair)).map(|set| format!("{whose} {set}")));
    }
    out
}

/// `GRANT … ON PARAMETER` for these roles and PUBLIC.
pub(crate) fn parameter_grants(
    name: &str,
    acl: &[String],
    initial: &[String],
    roles: &BTreeSet<&str>,
) -> Vec<String> {
    let concerns = |item: &&String| {
        acl::AclItem::parse(item)
            .is_some_and(|item| item.grantee.is_empty() || roles.contains(item.grantee.as_str()))
    };
    let wanted: Vec<String> =
        acl.iter().filter(|item| !initial.contains(item)).filter(concerns).cloned().collect();
    // Names of custom settings have two parts.
    let parts: Vec<String> = name.split('.').map(|part| ident(part).into_owned()).collect();
    let identity = parts.join(".");
    // The bootstrap superuser owns all parameters.
    let owner = acl::roles(initial).into_iter().next().unwrap_or_default();
    let on = GrantObject { kind: "PARAMETER", identity: &identity, column: None, prefix: "", owner: &owner };
    let newest = Versions { source: acl::MAINTAIN_SINCE, target: acl::MAINTAIN_SINCE };
    acl::commands(on, &wanted, &[], &RenderOptions::default(), newest)
}

/// Whether a setting is a temporary state rather than a configuration: `timescaledb.restoring` is on during a restore,
/// and a database with it accepts rows but shows none.
fn is_momentary(pair: &str) -> bool {
    pair.split_once('=').is_some_and(|(name, _)| name.eq_ignore_ascii_case("timescaledb.restoring"))
}

/// `SET name TO value` from `name=value`.
pub(crate) fn assignment(pair: &str) -> Option<String> {
    let (name, value) = pair.split_once('=')?;
    // Names of custom settings have two parts.
    let quoted: Vec<String> = name.split('.').map(|part| ident(part).into_owned()).collect();
    let value = match LISTS.contains(&name) {
        true => {
            let names: Vec<String> = list(value).iter().map(|name| literal(name)).collect();
            if names.is_empty() { "''".to_owned() } else { names.join(", ") }
        }
        false => literal(value),
    };
    Some(format!("SET {} TO {value}", quoted.join(".")))
}

/// Parses a stored list of names: comma-separated, double-quoted where needed.
fn list(value: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut name = String::new();
    let mut quoted = false;
    let mut any = false;
    let mut chars = value.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                name.push('"');
            }
            '"' => {
                quoted = !quoted;
                any = true;
            }
            ',' if !quoted => {
                names.push(std::mem::take(&mut name));
                any = false;
            }
            c if c.is_whitespace() && !quoted => {}
            c => {
                name.push(c);
                any = true;
            }
        }
    }
    if any {
        names.push(name);
    }
    names
}

/// The roles that the database itself requires, each with the reasons.
pub(crate) fn roles(info: &DatabaseInfo, options: &RenderOptions) -> BTreeMap<String, BTreeSet<String>> {
    let mut out: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut need = |role: &str, what: &str| {
        out.entry(options.role(role).to_owned()).or_default().insert(what.to_owned());
    };
    if !options.no_owner && !info.meta.owner.is_empty() {
        need(&info.meta.owner, "the owner of the database");
    }
    for setting in &info.settings {
        if let Some(role) = &setting.role {
            need(role, "a role's settings in the database");
        }
    }
    if !options.no_acl {
        for role in acl::roles(info.meta.acl.as_deref().unwrap_or_default()) {
            need(&role, "privileges of the database");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_of_an_abandoned_restore_is_not_copied() {
        let config = vec!["timescaledb.restoring=on".to_owned(), "work_mem=64MB".to_owned()];
        let settings = vec![crate::catalog::database::Setting { role: None, config }];
        let info = DatabaseInfo { settings, ..DatabaseInfo::default() };
        let made = statements(&info, "app", &RenderOptions::default(), 150_000);
        assert_eq!(made, ["ALTER DATABASE app SET work_mem TO '64MB'"]);
    }

    #[test]
    fn settings_are_written_as_the_server_reads_them() {
        for (pair, expected) in [
            ("search_path=\"$user\", public", "SET search_path TO '$user', 'public'"),
            ("search_path=\"a,\"\"b\"", "SET search_path TO 'a,\"b'"),
            ("search_path=\"\"", "SET search_path TO ''"),
            ("search_path=", "SET search_path TO ''"),
            ("work_mem=64MB", "SET work_mem TO '64MB'"),
            ("app.Key=it's = \\x", "SET app.\"Key\" TO E'it''s = \\\\x'"),
        ] {
            assert_eq!(assignment(pair).unwrap(), expected);
        }
    }
}
