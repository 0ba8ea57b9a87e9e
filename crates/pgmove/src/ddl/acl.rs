//! `GRANT` and `REVOKE` from `aclitem` text.
//!
//! An object's privileges are compared with those it is born with: what is missing is revoked, what is new is granted,
//! in the order in which the server keeps them, so that a grant by somebody who holds a grant option comes after it.

use super::RenderOptions;
use crate::quote::ident;

/// One `grantee=privileges/grantor`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AclItem {
    /// Who has the privileges; empty for everybody.
    pub(crate) grantee: String,
    /// The letters, each with whether it may be passed on.
    pub(crate) privileges: Vec<(char, bool)>,
    /// Who gave them.
    pub(crate) grantor: String,
}

impl AclItem {
    /// Parses the server's text form. Names are in double quotes where they need it, quotes in them doubled.
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

/// A role's name at the start of the text, and what follows it.
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

/// What privileges are granted on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct On<'a> {
    /// The kind as `GRANT … ON` names it.
    pub(crate) kind: &'a str,
    /// The object, ready for SQL; empty for default privileges.
    pub(crate) identity: &'a str,
    /// A column of it, unquoted.
    pub(crate) column: Option<&'a str>,
    /// Before the verb: `ALTER DEFAULT PRIVILEGES …`.
    pub(crate) prefix: &'a str,
    /// The owner at the source.
    pub(crate) owner: &'a str,
}

/// Statements that make `initial` into `acl`.
pub(crate) fn commands(
    on: On<'_>,
    acl: &[String],
    initial: &[String],
    options: &RenderOptions,
    target: u32,
) -> Vec<String> {
    let target_of = format!(
        "{}{}",
        on.kind,
        if on.identity.is_empty() { String::new() } else { format!(" {}", on.identity) }
    );
    let role = |name: &str| {
        if name.is_empty() { "PUBLIC".to_owned() } else { ident(options.role(name)).into_owned() }
    };
    let mut first = Vec::new();
    let mut second = Vec::new();
    for item in initial.iter().filter(|item| !acl.contains(item)).filter_map(|item| AclItem::parse(item)) {
        let all: Vec<char> = item.privileges.iter().map(|(letter, _)| *letter).collect();
        if let Some(words) = words(on, &all, target) {
            first.push(format!("{}REVOKE {words} ON {target_of} FROM {}", on.prefix, role(&item.grantee)));
        }
    }
    for item in acl.iter().filter(|item| !initial.contains(item)).filter_map(|item| AclItem::parse(item)) {
        let foreign = !item.grantor.is_empty() && item.grantor != on.owner && on.prefix.is_empty();
        for passing in [false, true] {
            let letters: Vec<char> = item
                .privileges
                .iter()
                .filter(|(_, option)| *option == passing)
                .map(|(letter, _)| *letter)
                .collect();
            let Some(words) = words(on, &letters, target) else { continue };
            let suffix = if passing { " WITH GRANT OPTION" } else { "" };
            let grant =
                format!("{}GRANT {words} ON {target_of} TO {}{suffix}", on.prefix, role(&item.grantee));
            // A privilege that somebody other than the owner gave must be given by the same role again.
            let sql = if foreign {
                format!(
                    "SET SESSION AUTHORIZATION {};\n{grant};\nRESET SESSION AUTHORIZATION",
                    role(&item.grantor)
                )
            } else {
                grant
            };
            if item.grantee == on.owner && !foreign { first.push(sql) } else { second.push(sql) }
        }
    }
    first.extend(second);
    first
}

/// The roles that a list of privileges names.
pub(crate) fn roles(acl: &[String]) -> Vec<String> {
    let items = acl.iter().filter_map(|item| AclItem::parse(item));
    items.flat_map(|item| [item.grantee, item.grantor]).filter(|role| !role.is_empty()).collect()
}

/// The privileges as words, `ALL` where they are all that the kind has: then a newer server grants its newer ones
/// too. Nothing when none of them exists at the target.
fn words(on: On<'_>, letters: &[char], target: u32) -> Option<String> {
    let all: &[&str] = match on.kind {
        "TABLE" | "TABLES" if on.column.is_some() => &["arwx"],
        "TABLE" | "TABLES" => &["arwdDxt", "arwdDxtm"],
        "SEQUENCE" | "SEQUENCES" => &["rwU"],
        "SCHEMA" | "SCHEMAS" => &["UC"],
        "DATABASE" => &["CTc"],
        "LARGE OBJECT" | "LARGE OBJECTS" => &["rw"],
        "FUNCTION" | "PROCEDURE" | "FUNCTIONS" => &["X"],
        _ => &["U"],
    };
    let column = on.column.map(|column| format!("({})", ident(column))).unwrap_or_default();
    let is_all =
        |set: &&str| set.chars().count() == letters.len() && set.chars().all(|c| letters.contains(&c));
    if all.iter().any(is_all) {
        return Some(format!("ALL{column}"));
    }
    let words: Vec<String> = letters
        .iter()
        .filter(|letter| **letter != 'm' || target >= 170_000)
        .filter_map(|letter| {
            Some(match letter {
                'r' => "SELECT",
                'w' => "UPDATE",
                'a' => "INSERT",
                'd' => "DELETE",
                'D' => "TRUNCATE",
                'x' => "REFERENCES",
                't' => "TRIGGER",
                'm' => "MAINTAIN",
                'X' => "EXECUTE",
                'U' => "USAGE",
                'C' => "CREATE",
                'T' => "TEMPORARY",
                'c' => "CONNECT",
                's' => "SET",
                'A' => "ALTER SYSTEM",
                _ => return None,
            })
        })
        .map(|word| format!("{word}{column}"))
        .collect();
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

    #[test]
    fn only_the_difference_is_said() {
        let on = On { kind: "TABLE", identity: "public.t", column: None, prefix: "", owner: "o" };
        let acl = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>();
        let options = RenderOptions::default();
        let initial = acl(&["o=arwdDxt/o"]);
        assert!(commands(on, &initial, &initial, &options, 150_000).is_empty());
        assert_eq!(
            commands(on, &acl(&["o=r/o", "=r/o", "u=r*w/o", "v=r/u"]), &initial, &options, 150_000),
            [
                "REVOKE ALL ON TABLE public.t FROM o",
                "GRANT SELECT ON TABLE public.t TO o",
                "GRANT SELECT ON TABLE public.t TO PUBLIC",
                "GRANT UPDATE ON TABLE public.t TO u",
                "GRANT SELECT ON TABLE public.t TO u WITH GRANT OPTION",
                "SET SESSION AUTHORIZATION u;\nGRANT SELECT ON TABLE public.t TO v;\nRESET SESSION AUTHORIZATION",
            ]
        );
    }
}
