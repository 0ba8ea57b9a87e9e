//! `GRANT` and `REVOKE` from `aclitem` text.
//!
//! An object's privileges are compared with its initial ones, letter by letter: missing ones are revoked, new ones
//! granted, in the order in which the server stores them, so that a grant made by virtue of a grant option comes after
//! that option.

use std::collections::BTreeMap;

use super::RenderOptions;
use crate::quote::ident;

/// A parsed `grantee=privileges/grantor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AclItem {
    /// The grantee; empty for PUBLIC.
    pub(crate) grantee: String,
    /// The privilege letters, each with whether it has the grant option.
    pub(crate) privileges: Vec<(char, bool)>,
    /// The grantor.
    pub(crate) grantor: String,
}

impl AclItem {
    /// Parses the server's text form (`aclitemin`). Names are double-quoted where needed, with quotes in them doubled.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (grantee, rest) = name(text)?;
        let rest = rest.strip_prefix('=')?;
        let (letters, rest) = rest.split_once('/').unwrap_or((rest, ""));
        let mut privileges: Vec<(char, bool)> = Vec::new();
        for letter in letters.chars() {
            match (letter, privileges.last_mut()) {
                ('*', Some(last)) => last.1 = true,
                _ => privileges.push((letter, false)),
            }
        }
        Some(Self { grantee, privileges, grantor: name(rest)?.0 })
    }
}

/// Splits off the role name at the start of the text.
fn name(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut quoted = false;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' if quoted && chars.peek().is_some_and(|(_, next)| *next == '"') => {
                chars.next();
                out.push('"');
            }
            '"' => quoted = !quoted,
            '=' | '/' if !quoted => return text.get(at..).map(|rest| (out, rest)),
            _ => out.push(c),
        }
    }
    (!quoted).then_some((out, ""))
}

/// The object of a `GRANT` or `REVOKE`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GrantObject<'a> {
    /// The keyword of the kind in `GRANT … ON`.
    pub(crate) kind: &'a str,
    /// The object, ready for SQL; empty for default privileges.
    pub(crate) identity: &'a str,
    /// The column, unquoted, for column privileges.
    pub(crate) column: Option<&'a str>,
    /// Text before the verb: `ALTER DEFAULT PRIVILEGES …`.
    pub(crate) prefix: &'a str,
    /// The owner at the source.
    pub(crate) owner: &'a str,
}

/// The source's and the target's version (`server_version_num`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Versions {
    /// The version that the privileges were read from.
    pub(crate) source: u32,
    /// The version that they are written for.
    pub(crate) target: u32,
}

/// Privileges by grantee and grantor; each letter with whether it has the grant option.
type Granted = Vec<((String, String), BTreeMap<char, bool>)>;

/// The first version with the privilege MAINTAIN.
pub(super) const MAINTAIN_SINCE: u32 = 170_000;

/// All table privileges before [`MAINTAIN_SINCE`].
const OLD_TABLE: &str = "arwdDxt";

/// Statements that change `initial` into `acl`, letter by letter. `ALL` is never written, because it includes more
/// privileges on a newer server.
pub(crate) fn commands(
    on: GrantObject<'_>,
    acl: &[String],
    initial: &[String],
    options: &RenderOptions,
    versions: Versions,
) -> Vec<String> {
    // Map roles to their names at the target first: two of them may be the same role there.
    let on = GrantObject { owner: options.role(on.owner), ..on };
    let name = |name: String| if name.is_empty() { name } else { options.role(&name).to_owned() };
    let (acl, initial) = (renamed(granted(acl), &name), renamed(granted(initial), &name));
    let (mut acl, mut initial) = translated(on, acl, initial, versions);
    if options.owner_maintain_open && is_table(on) {
        for (_, letters) in acl.iter_mut().chain(&mut initial).filter(|(key, _)| key.0 == on.owner) {
            letters.remove(&'m');
        }
    }
    difference(on, &acl, &initial)
}

/// The privileges that an object should have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DesiredPrivileges<'a> {
    /// Those of the source; `None` if they were never changed.
    pub(crate) acl: Option<&'a [String]>,
    /// The owner at the source.
    pub(crate) owner: &'a str,
    /// The target server's defaults for the owner there.
    pub(crate) default: &'a [String],
}

/// Statements that change `actual`, the privileges of an existing object at the target, into the wanted ones. Here `on`
/// names the owner at the target.
pub(crate) fn settle(
    on: GrantObject<'_>,
    wanted: DesiredPrivileges<'_>,
    actual: &[String],
    options: &RenderOptions,
    versions: Versions,
) -> Vec<String> {
    let actual = granted(actual);
    let target = match wanted.acl {
        None => granted(wanted.default),
        Some(acl) => {
            let name = |name: String| match name.as_str() {
                "" => name,
                owner if owner == wanted.owner => on.owner.to_owned(),
                other => options.role(other).to_owned(),
            };
            let named = renamed(granted(acl), &name);
            let initial_acl = Granted::from([(
                (on.owner.to_owned(), on.owner.to_owned()),
                OLD_TABLE.chars().map(|letter| (letter, false)).collect(),
            )]);
            translated(on, named, initial_acl, versions).0
        }
    };
    difference(on, &target, &actual)
}

/// Statements that change `initial` into `acl`; role names are those of the target.
fn difference(on: GrantObject<'_>, acl: &Granted, initial: &Granted) -> Vec<String> {
    let to = format!(
        "{}{}",
        on.kind,
        if on.identity.is_empty() { String::new() } else { format!(" {}", on.identity) }
    );
    let role = |name: &str| if name.is_empty() { "PUBLIC".to_owned() } else { ident(name).into_owned() };
    // A privilege granted by a role other than the owner must be granted and revoked by that role.
    let by = |grantor: &str, sql: String| match grantor.is_empty()
        || grantor == on.owner
        || !on.prefix.is_empty()
    {
        true => sql,
        false => format!("SET SESSION AUTHORIZATION {};\n{sql};\nRESET SESSION AUTHORIZATION", role(grantor)),
    };
    let none = BTreeMap::new();
    let (mut revokes, mut owners, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for (key, before) in initial {
        let after = find(acl, key).unwrap_or(&none);
        let (grantee, grantor) = (role(&key.0), &key.1);
        let removed = words(on, before.keys().filter(|letter| !after.contains_key(letter)));
        if let Some(words) = removed {
            revokes.push(by(grantor, format!("{}REVOKE {words} ON {to} FROM {grantee}", on.prefix)));
        }
        let kept = before.iter().filter(|(letter, option)| **option && after.get(letter) == Some(&false));
        if let Some(words) = words(on, kept.map(|(letter, _)| letter)) {
            let sql = format!("{}REVOKE GRANT OPTION FOR {words} ON {to} FROM {grantee}", on.prefix);
            revokes.push(by(grantor, sql));
        }
    }
    for (key, after) in acl {
        let before = find(initial, key).unwrap_or(&none);
        let (grantee, grantor) = (role(&key.0), &key.1);
        for passing in [false, true] {
            let new = after.iter().filter(|(letter, option)| {
                **option == passing && before.get(letter).is_none_or(|had| passing && !had)
            });
            let Some(words) = words(on, new.map(|(letter, _)| letter)) else { continue };
            let suffix = if passing { " WITH GRANT OPTION" } else { "" };
            let sql = by(grantor, format!("{}GRANT {words} ON {to} TO {grantee}{suffix}", on.prefix));
            let own = key.0 == on.owner && (grantor.is_empty() || *grantor == on.owner);
            if own { owners.push(sql) } else { others.push(sql) }
        }
    }
    revokes.extend(owners);
    revokes.extend(others);
    revokes
}

fn granted(acl: &[String]) -> Granted {
    let mut out = Granted::new();
    for item in acl.iter().filter_map(|item| AclItem::parse(item)) {
        let key = (item.grantee, item.grantor);
        match out.iter_mut().find(|(known, _)| *known == key) {
            Some((_, letters)) => letters.extend(item.privileges),
            None => out.push((key, item.privileges.into_iter().collect())),
        }
    }
    out
}

/// Renames roles; where two become one, their privileges are combined.
fn renamed(granted: Granted, name: &dyn Fn(String) -> String) -> Granted {
    let mut out = Granted::new();
    for ((grantee, grantor), letters) in granted {
        let key = (name(grantee), name(grantor));
        match out.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => {
                for (letter, passing) in letters {
                    *known.entry(letter).or_default() |= passing;
                }
            }
            None => out.push((key, letters)),
        }
    }
    out
}

fn find<'a>(granted: &'a Granted, key: &(String, String)) -> Option<&'a BTreeMap<char, bool>> {
    granted.iter().find(|(known, _)| known == key).map(|(_, letters)| letters)
}

/// Translates both lists to the target's version. The owner of a table initially has all privileges, including those
/// new in the target's version, and keeps them unless one was revoked at the source. Other roles do not get privileges
/// that the source's version lacks. Privileges that the target lacks are omitted.
fn translated(
    on: GrantObject<'_>,
    mut acl: Granted,
    mut initial: Granted,
    versions: Versions,
) -> (Granted, Granted) {
    if !is_table(on) {
        return (acl, initial);
    }
    if versions.target < MAINTAIN_SINCE {
        for (_, letters) in acl.iter_mut().chain(&mut initial) {
            letters.remove(&'m');
        }
    } else if versions.source < MAINTAIN_SINCE {
        let every =
            |letters: &BTreeMap<char, bool>| OLD_TABLE.chars().all(|letter| letters.contains_key(&letter));
        let owner = initial.iter_mut().find(|(key, letters)| key.0 == on.owner && every(letters));
        if let Some((key, letters)) = owner {
            letters.insert('m', false);
            let kept = acl.iter_mut().find(|(other, letters)| other == key && every(letters));
            kept.into_iter().for_each(|(_, letters)| {
                letters.insert('m', false);
            });
        }
    }
    (acl, initial)
}

fn is_table(on: GrantObject<'_>) -> bool {
    matches!(on.kind, "TABLE" | "TABLES") && on.column.is_none()
}

/// Whether table privileges contain one that the version `target` lacks.
pub(crate) fn loses_maintain(on: GrantObject<'_>, acl: &[String], initial: &[String], target: u32) -> bool {
    let given = |item: &String| {
        !initial.contains(item)
            && AclItem::parse(item).is_some_and(|item| item.privileges.iter().any(|(l, _)| *l == 'm'))
    };
    target < MAINTAIN_SINCE && is_table(on) && acl.iter().any(given)
}

/// The grantor of the first of these privileges.
pub(crate) fn grantor(acl: &[String]) -> Option<String> {
    acl.iter().find_map(|item| AclItem::parse(item)).map(|item| item.grantor)
}

/// The same privileges while the object belonged to `before`, which the owner `owner` replaces.
pub(crate) fn of_owner(acl: &[String], owner: &str, before: &str) -> Vec<String> {
    if owner == before {
        return acl.to_vec();
    }
    let named = |role: &str| quoted(if role == owner { before } else { role });
    let item = |item: &String| {
        let Some(item) = AclItem::parse(item) else { return item.clone() };
        let letters: String = item
            .privileges
            .iter()
            .flat_map(|(letter, passing)| [Some(*letter), passing.then_some('*')])
            .flatten()
            .collect();
        format!("{}={letters}/{}", named(&item.grantee), named(&item.grantor))
    };
    acl.iter().map(item).collect()
}

/// A role's name as `aclitem` writes it.
pub(super) fn quoted(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// The roles that a list of privileges names.
pub(crate) fn roles(acl: &[String]) -> Vec<String> {
    let items = acl.iter().filter_map(|item| AclItem::parse(item));
    items.flat_map(|item| [item.grantee, item.grantor]).filter(|role| !role.is_empty()).collect()
}

/// All privileges in the server's order (`ACL_ALL_RIGHTS_STR`), with their keywords.
const PRIVILEGES: &[(char, &str)] = &[
    ('a', "INSERT"),
    ('r', "SELECT"),
    ('w', "UPDATE"),
    ('d', "DELETE"),
    ('D', "TRUNCATE"),
    ('x', "REFERENCES"),
    ('t', "TRIGGER"),
    ('X', "EXECUTE"),
    ('U', "USAGE"),
    ('C', "CREATE"),
    ('T', "TEMPORARY"),
    ('c', "CONNECT"),
    ('s', "SET"),
    ('A', "ALTER SYSTEM"),
    ('m', "MAINTAIN"),
];

/// The privileges as keywords in the server's order; `None` if there are none.
fn words<'a>(on: GrantObject<'_>, letters: impl Iterator<Item = &'a char>) -> Option<String> {
    let letters: Vec<char> = letters.copied().collect();
    let column = on.column.map(|column| format!("({})", ident(column))).unwrap_or_default();
    let named = PRIVILEGES.iter().filter(|(letter, _)| letters.contains(letter));
    let words: Vec<String> = named.map(|(_, word)| format!("{word}{column}")).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_taken_apart() {
        let item = AclItem::parse("\"a=/\"\"b\"=r*w/\"own er\"").unwrap();
        assert_eq!(item.grantee, "a=/\"b");
        assert_eq!(item.privileges, [('r', true), ('w', false)]);
        assert_eq!(item.grantor, "own er");
        assert_eq!(AclItem::parse("=U/postgres").unwrap().grantee, "");
        assert_eq!(AclItem::parse("\"open"), None);
    }

    fn acl(items: &[&str]) -> Vec<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    const TABLE: GrantObject<'_> =
        GrantObject { kind: "TABLE", identity: "public.t", column: None, prefix: "", owner: "o" };

    fn commands_for(items: &[&str], initial: &[&str], source: u32, target: u32) -> Vec<String> {
        let versions = Versions { source, target };
        commands(TABLE, &acl(items), &acl(initial), &RenderOptions::default(), versions)
    }

    #[test]
    fn only_the_difference_is_shown() {
        let initial = ["o=arwdDxt/o"];
        assert!(commands_for(&initial, &initial, 150_000, 150_000).is_empty());
        assert_eq!(
            commands_for(&["o=r/o", "=r/o", "u=r*w/o", "v=r/u"], &initial, 150_000, 150_000),
            [
                "REVOKE INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER ON TABLE public.t FROM o",
                "GRANT SELECT ON TABLE public.t TO PUBLIC",
                "GRANT UPDATE ON TABLE public.t TO u",
                "GRANT SELECT ON TABLE public.t TO u WITH GRANT OPTION",
                "SET SESSION AUTHORIZATION u;\nGRANT SELECT ON TABLE public.t TO v;\nRESET SESSION AUTHORIZATION",
            ]
        );
    }

    #[test]
    fn grant_options_come_and_go_alone() {
        let initial_acl = ["o=arwdDxtm/o", "u=r*w*/o"];
        assert_eq!(
            commands_for(&["o=ar*wdDxtm/o", "u=rw*/o"], &initial_acl, 180_000, 180_000),
            [
                "REVOKE GRANT OPTION FOR SELECT ON TABLE public.t FROM u",
                "GRANT SELECT ON TABLE public.t TO o WITH GRANT OPTION",
            ]
        );
    }

    #[test]
    fn two_roles_that_become_one_have_the_privileges_of_both() {
        let options =
            RenderOptions { role_map: [("u".to_owned(), "o".to_owned())].into(), ..RenderOptions::default() };
        let commands_for = |items: &[&str]| {
            let versions = Versions { source: 150_000, target: 150_000 };
            commands(TABLE, &acl(items), &acl(&["o=arwdDxt/o"]), &options, versions)
        };
        // The owner already has it.
        assert!(commands_for(&["o=arwdDxt/o", "u=r/o"]).is_empty());
        assert_eq!(
            commands_for(&["o=arwdDxt/o", "v=r/o", "v=w/u"]),
            ["GRANT SELECT, UPDATE ON TABLE public.t TO v"]
        );
    }

    #[test]
    fn maintain_is_neither_handed_out_nor_lost() {
        let seven = "INSERT, SELECT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER";
        // The full set of privileges in 15 is smaller than in 18, but the owner keeps all of the owner's privileges.
        for (source, target) in [(150_000, 180_000), (150_000, 150_000)] {
            assert_eq!(
                commands_for(&["o=arwdDxt/o", "u=arwdDxt/o"], &["o=arwdDxt/o"], source, target),
                [format!("GRANT {seven} ON TABLE public.t TO u")]
            );
        }
        // An owner who revoked privileges at the source has no more than the remaining ones at the target.
        assert_eq!(
            commands_for(&["o=r/o"], &["o=arwdDxt/o"], 150_000, 180_000),
            [
                "REVOKE INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER, MAINTAIN ON TABLE public.t FROM o"
            ]
        );
        assert_eq!(
            commands_for(&["o=arwdDxt/o"], &["o=arwdDxtm/o"], 180_000, 180_000),
            ["REVOKE MAINTAIN ON TABLE public.t FROM o"]
        );
        assert_eq!(
            commands_for(&["o=arwdDxtm/o", "u=a*r*w*d*D*x*t*m/o"], &["o=arwdDxtm/o"], 180_000, 180_000),
            [
                "GRANT MAINTAIN ON TABLE public.t TO u".to_owned(),
                format!("GRANT {seven} ON TABLE public.t TO u WITH GRANT OPTION"),
            ]
        );
        // A server without the privilege does not get a statement for it.
        assert!(commands_for(&["o=arwdDxt/o", "u=m/o"], &["o=arwdDxtm/o"], 180_000, 150_000).is_empty());
        assert!(loses_maintain(TABLE, &acl(&["u=m/o"]), &[], 150_000));
    }
}
