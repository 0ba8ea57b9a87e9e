//! Settings for filling a target.

use crate::jobs::replacing::Replacing;

/// The error if Redis key flags are given and no target is a Redis server.
pub(crate) const REDIS_ONLY: &str = "--key, --db, --rename, --ttl and similar options are for Redis or Valkey servers, and none of the targets is one";

/// The error if `--resume` is given for a Redis server.
pub(crate) const RESUME_POSTGRES: &str =
    "--resume is for PostgreSQL targets; for Redis, run the command again with --on-existing replace";

/// Settings of every job that writes into a target.
#[derive(Debug, Clone)]
pub(crate) struct TargetSettings {
    /// Connections per target.
    pub(crate) jobs: usize,
    /// Settings of PostgreSQL targets: owners, existing data, sections.
    pub(crate) postgres: pgmove::TargetOptions,
    /// Settings of Redis targets.
    pub(crate) redis: redisdump::RestoreOptions,
    /// Create the database first.
    pub(crate) create: bool,
    /// Create the missing roles and tablespaces that were copied with the database.
    pub(crate) globals: bool,
    /// Create the users of a Redis source too.
    pub(crate) access: bool,
    /// Create missing roles without login. Only for private servers.
    pub(crate) create_roles: bool,
    /// Start jobs and policies of the target after verification.
    pub(crate) run_jobs: bool,
    /// Read everything back and compare.
    pub(crate) proof: bool,
    /// Confirmation that rows and keys of the target may be destroyed.
    pub(crate) replacing: Replacing,
}

impl TargetSettings {
    /// Restore everything into an empty target, and verify it.
    pub(crate) fn new(jobs: usize) -> TargetSettings {
        TargetSettings {
            jobs,
            postgres: pgmove::TargetOptions { jobs, ..pgmove::TargetOptions::default() },
            redis: redisdump::RestoreOptions::default(),
            create: false,
            globals: false,
            access: false,
            create_roles: false,
            run_jobs: true,
            proof: true,
            replacing: Replacing::default(),
        }
    }
}
