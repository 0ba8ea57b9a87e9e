//! The external programs.

/// The external programs, by name or path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// `kubectl`
    pub kubectl: String,
    /// `docker`
    pub docker: String,
    /// `ssh`
    pub ssh: String,
}

impl Default for Programs {
    fn default() -> Programs {
        Programs { kubectl: "kubectl".to_owned(), docker: "docker".to_owned(), ssh: "ssh".to_owned() }
    }
}
