//! How a job fills a target.

use crate::jobs::replacing::Replacing;

/// Said where flags for the keys of Redis are given and none of the targets is a Redis server.
pub(crate) const REDIS_ONLY: &str = "--key, --db, --rename, --ttl and their like are for Redis or Valkey servers, and none of the targets is one";

/// Said where `--resume` is given for a Redis server.
pub(crate) const RESUME_POSTGRES: &str =
    "--resume is for PostgreSQL targets; for Redis, run the command again with --on-existing replace";

/// Settings of every job that writes into a target.
#[derive(Debug, Clone)]
pub(crate) struct TargetSettings {
    /// Connections that work at the same time.
    pub(crate) jobs: usize,
    /// What PostgreSQL targets are told: owners, what to do with what is there, which sections.
    pub(crate) postgres: pgmove::TargetOptions,
    /// What Redis targets are told.
    pub(crate) redis: redisdump::RestoreOptions,
    /// Make the database first.
    pub(crate) create: bool,
    /// Make the roles and tablespaces first that the server lacks and that went along with the database.
    pub(crate) globals: bool,
    /// Make the users of a Redis source at the target too.
    pub(crate) access: bool,
    /// Make the roles that are missing, without login: only ever in servers of our own.
    pub(crate) create_roles: bool,
    /// Let jobs and policies of the target run once all is proven.
    pub(crate) run_jobs: bool,
    /// Read everything back and compare.
    pub(crate) proof: bool,
    /// What is said of rows and keys at the target that would be destroyed.
    pub(crate) replacing: Replacing,
}

impl TargetSettings {
    /// Everything, into an empty target, proven.
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
