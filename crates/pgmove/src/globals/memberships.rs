//! Role memberships and their grantors.
//!
//! From PostgreSQL 16 on, a role may have the same membership from several grantors, each with its own options, and a
//! grantor needs ADMIN OPTION itself: so the grants are ordered such that each grantor already has its right, as in
//! `pg_dumpall`. In older versions there is one membership, regardless of the grantor.

use std::collections::{BTreeMap, BTreeSet};

use super::{ExistingGlobals, GlobalStatement, Globals, Membership};
use crate::catalog::LeftOut;
use crate::quote::ident;

/// The first version in which the grantor is part of a membership.
const GRANTORS_SINCE: u32 = 160_000;

/// Grants that concern a newly created role. Memberships of existing roles are left to the target's administrator.
pub(super) fn statements(
    globals: &Globals,
    fresh: &BTreeSet<&str>,
    target: &ExistingGlobals,
) -> Vec<GlobalStatement> {
    let wanted = globals.memberships.iter().filter(|membership| {
        let concerns = |name: &String| fresh.contains(name.as_str());
        (concerns(&membership.member) || concerns(&membership.role))
            && known(globals, &membership.role, target)
    });
    if target.version_num < GRANTORS_SINCE {
        let mut merged: BTreeMap<(&str, &str), bool> = BTreeMap::new();
        for Membership { role, member, admin, .. } in wanted {
            *merged.entry((role, member)).or_default() |= admin;
        }
        return merged
            .into_iter()
            .map(|((role, member), admin)| {
                let with = if admin { " WITH ADMIN OPTION" } else { "" };
                statement(role, member, with, "")
            })
            .collect();
    }
    let mut open: Vec<&Membership> = wanted.collect();
    let mut out = Vec::new();
    // ADMIN OPTIONs granted so far.
    let mut admins: BTreeSet<(&str, &str)> = BTreeSet::new();
    while !open.is_empty() {
        let may = |membership: &&Membership| match grantor(globals, membership) {
            Some(grantor) => admins.contains(&(membership.role.as_str(), grantor)),
            None => true,
        };
        let (now, later): (Vec<_>, Vec<_>) = open.iter().copied().partition(may);
        // No remaining grantor has its right at this server: the connecting role becomes the grantor.
        let alone = now.is_empty();
        for membership in if alone { &later } else { &now } {
            let mut with = vec![format!("ADMIN {}", membership.admin)];
            with.extend(membership.inherit.map(|inherit| format!("INHERIT {inherit}")));
            with.extend(membership.set.map(|set| format!("SET {set}")));
            let by = grantor(globals, membership).filter(|_| !alone);
            let by = by.map(|name| format!(" GRANTED BY {}", ident(name))).unwrap_or_default();
            let with = format!(" WITH {}", with.join(", "));
            out.push(statement(&membership.role, &membership.member, &with, &by));
            if membership.admin {
                admins.insert((&membership.role, &membership.member));
            }
        }
        open = if alone { Vec::new() } else { later };
    }
    out
}

/// The grantor to name, except for the bootstrap superuser, which is the default grantor for all superusers.
fn grantor<'a>(globals: &'a Globals, membership: &'a Membership) -> Option<&'a str> {
    membership.grantor.as_deref().filter(|grantor| *grantor != globals.bootstrap)
}

/// Whether the role will exist: it is created, or is a predefined role of the target's version.
fn known(globals: &Globals, role: &str, target: &ExistingGlobals) -> bool {
    target.roles.contains(role) || globals.roles.iter().any(|made| made.name == role)
}

/// Memberships in predefined roles that the target's version does not have.
pub(super) fn left_out(globals: &Globals, target: &ExistingGlobals) -> Vec<LeftOut> {
    let unknown = globals.memberships.iter().filter(|membership| !known(globals, &membership.role, target));
    unknown
        .map(|Membership { role, member, .. }| LeftOut::Membership {
            member: member.clone(),
            role: role.clone(),
        })
        .collect()
}

fn statement(role: &str, member: &str, with: &str, by: &str) -> GlobalStatement {
    let (role, member) = (ident(role), ident(member));
    GlobalStatement {
        object: format!("membership of {member} in {role}"),
        sql: format!("GRANT {role} TO {member}{with}{by}"),
    }
}
