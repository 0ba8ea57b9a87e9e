//! How a job fills a target.

/// Settings of every job that writes into a target.
#[derive(Debug, Clone)]
pub(crate) struct TargetSettings {
    /// Connections that work at the same time.
    pub(crate) jobs: usize,
    /// The connecting role owns everything.
    pub(crate) no_owner: bool,
    /// Grants are left out.
    pub(crate) no_acl: bool,
    /// Roles put in other roles' places.
    pub(crate) role_map: Vec<(String, String)>,
    /// Make the roles that are missing, without login: only ever in servers of our own.
    pub(crate) create_roles: bool,
    /// Read everything back and compare.
    pub(crate) proof: bool,
}
