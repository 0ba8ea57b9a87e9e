//! How runs are started on a host: systemd timers, cron, Kubernetes, compose.

use std::path::Path;

use chrono::{DateTime, Utc};

/// A schedule that is installed on this host.
pub(crate) struct Installed {
    /// What it is.
    pub(crate) description: String,
    /// When it starts the next run, if that can be told.
    pub(crate) next_run: Option<DateTime<Utc>>,
}

/// The schedule that is installed under this root of a file system.
pub(crate) fn installed(_root: &Path, _now: DateTime<Utc>) -> Option<Installed> {
    None
}
