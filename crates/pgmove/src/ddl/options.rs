//! What a script leaves out, and the roles it names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What to leave out, and whom to call what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct RenderOptions {
    /// Leave every object to the role that restores.
    pub no_owner: bool,
    /// No `GRANT`, no `REVOKE`, no default privileges.
    pub no_acl: bool,
    /// No comments.
    pub no_comments: bool,
    /// No comments on extensions, which only their owners may make.
    pub no_extension_comments: bool,
    /// No comment on the schema `public`, which only its owner may make.
    pub no_public_comment: bool,
    /// No security labels.
    pub no_security_labels: bool,
    /// No tablespaces: everything goes to the database's own.
    pub no_tablespaces: bool,
    /// No table access methods: every table gets the target's own.
    pub no_table_access_method: bool,
    /// Columns that are compressed by LZ4 get the server's own method: for a server that was built without it.
    pub no_lz4: bool,
    /// No publications.
    pub no_publications: bool,
    /// Other names for roles.
    pub role_map: BTreeMap<String, String>,
    /// The version whose privileges are said, where it is not the target's: a comparison is written for the older of two
    /// servers, and must see what only the newer one can grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privileges_for: Option<u32>,
    /// Whether MAINTAIN of a table's owner is left open, because one of two servers that are compared does not know it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub owner_maintain_open: bool,
}

impl RenderOptions {
    /// For a comparison of catalogs of these two versions: privileges as the newer one knows them.
    #[must_use]
    pub(crate) fn comparing(self, one: u32, other: u32) -> Self {
        let known = |version: u32| version >= super::acl::MAINTAIN_SINCE;
        RenderOptions {
            privileges_for: Some(one.max(other)),
            owner_maintain_open: known(one) != known(other),
            ..self
        }
    }
}

impl RenderOptions {
    /// What a role of the source is called at the target.
    pub fn role<'a>(&'a self, name: &'a str) -> &'a str {
        self.role_map.get(name).map_or(name, String::as_str)
    }
}
