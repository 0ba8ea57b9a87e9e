//! Compares the databases themselves: their settings, and other properties set by `CREATE DATABASE` and `ALTER
//! DATABASE`.
//!
//! As in pg_dump, none of these belong to a database's content: a restore into an existing database leaves them
//! alone. Different settings count as a difference only on request; everything that differs is named in any case.

use super::SchemaDifference;
use super::schema::Scope;
use crate::catalog::Catalog;
use crate::catalog::database::{DatabaseInfo, LocaleProvider};
use crate::ddl::{RenderOptions, database};
use crate::error::without_secrets;

/// Differences, and deviations that do not count as differences.
pub(super) fn compare(
    (left, left_options): (&Catalog, &RenderOptions),
    (right, right_options): (&Catalog, &RenderOptions),
    scope: &Scope,
) -> (Option<SchemaDifference>, Vec<String>) {
    if !left.filter.is_all() || !right.filter.is_all() {
        // Not relevant after a partial restore, but relevant when two databases are compared.
        let part =
            "settings, locale, owner and comment of the databases: only some of their objects are compared";
        return (None, if scope.restored { Vec::new() } else { vec![part.to_owned()] });
    }
    let (one, other) = (&left.database, &right.database);
    // The database may have different names on the two sides.
    let statements =
        |info: &DatabaseInfo, options: &RenderOptions| database::settings(info, &one.meta.name, options);
    let (ours, theirs) = (statements(one, left_options), statements(other, right_options));
    let only = |some: &[String], others: &[String]| {
        some.iter().filter(|sql| !others.contains(sql)).cloned().collect::<Vec<_>>()
    };
    let (only_left, only_right) = (only(&ours, &theirs), only(&theirs, &ours));
    let mut notes = Vec::new();
    if scope.restored {
        // The database existed, or was created with them.
        notes.extend(only_left.iter().map(|sql| {
            format!("a setting of the source's database, which is not applied to an existing database: {sql}")
        }));
    }
    if !scope.restored && !scope.settings {
        for (side, settings) in [("left", &only_left), ("right", &only_right)] {
            notes.extend(settings.iter().map(|sql| {
                format!(
                    "a setting that only the database on the {side} has: {}",
                    without_secrets(sql.clone())
                )
            }));
        }
    }
    for (what, left, right) in properties(one, other) {
        if left != right && !scope.restored {
            notes.push(format!("{what} of the database: {left} on the left, {right} on the right"));
        }
    }
    let same = only_left.is_empty() && only_right.is_empty();
    let difference = (scope.settings && !same).then(|| SchemaDifference {
        object: "settings of the database".to_owned(),
        left: only_left,
        right: only_right,
    });
    (difference, notes)
}

/// Properties of a database other than settings. They are chosen when it is created, and belong to no object in it.
fn properties(left: &DatabaseInfo, right: &DatabaseInfo) -> Vec<(&'static str, String, String)> {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
    let locale = |info: &DatabaseInfo| {
        let provider = match info.locale_provider {
            LocaleProvider::Libc => "libc",
            LocaleProvider::Icu => "ICU",
            LocaleProvider::Builtin => "builtin",
        };
        let own = info.locale.as_ref().map(|locale| format!(" {locale}")).unwrap_or_default();
        format!("{provider}{own}, collate {}, ctype {}", info.collate, info.ctype)
    };
    let privileges = |info: &DatabaseInfo| match &info.meta.acl {
        Some(acl) => acl.join(" "),
        None => "the default ones".to_owned(),
    };
    vec![
        ("encoding", left.encoding.clone(), right.encoding.clone()),
        ("locale", locale(left), locale(right)),
        ("owner", left.meta.owner.clone(), right.meta.owner.clone()),
        ("privileges", privileges(left), privileges(right)),
        ("comment", text(&left.comment), text(&right.comment)),
        ("connection limit", left.connection_limit.to_string(), right.connection_limit.to_string()),
        ("tablespace", text(&left.tablespace), text(&right.tablespace)),
    ]
}
