//! Options for rendering: what to leave out, and the mapping of roles.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What to leave out, and how to map roles.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct RenderOptions {
    /// No owners: the restoring role owns every object.
    pub no_owner: bool,
    /// No `GRANT`, no `REVOKE`, no default privileges.
    pub no_acl: bool,
    /// No comments.
    pub no_comments: bool,
    /// No comments on extensions, which only the extension's owner may set.
    pub no_extension_comments: bool,
    /// No comment on the schema `public`, which only its owner may set.
    pub no_public_comment: bool,
    /// No security labels.
    pub no_security_labels: bool,
    /// No tablespaces: use the database's default.
    pub no_tablespaces: bool,
    /// No table access methods: use the target's default.
    pub no_table_access_method: bool,
    /// Replace LZ4 compression of columns by the server's default, for a server built without LZ4.
    pub no_lz4: bool,
    /// No publications.
    pub no_publications: bool,
    /// Role mapping: name at the source to name at the target.
    pub role_map: BTreeMap<String, String>,
    /// The version for privileges, if it differs from the target's: a comparison is rendered for the older of two
    /// servers, but must see privileges that only the newer one has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privileges_for: Option<u32>,
    /// Whether to ignore MAINTAIN of a table's owner, because one of two compared servers lacks it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub owner_maintain_open: bool,
}

impl RenderOptions {
    /// Adjusts the options for comparing catalogs of two versions: privileges follow the newer one.
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
    /// The name at the target of a role of the source.
    pub fn role<'a>(&'a self, name: &'a str) -> &'a str {
        self.role_map.get(name).map_or(name, String::as_str)
    }
}
