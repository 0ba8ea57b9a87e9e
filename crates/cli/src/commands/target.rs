//! Flags of the commands that write into a target.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use pgmove::{Existing, OnError, OnRows, Sections};

use crate::commands::redis_keys::RedisKeyArgs;
use crate::exit;
use crate::jobs::replacing::Replacing;
use crate::jobs::settings::TargetSettings;

/// How to fill a target.
#[derive(Debug, Args)]
#[command(next_help_heading = "Target")]
pub(crate) struct TargetArgs {
    /// Number of connections that work at the same time
    #[arg(long, short, value_name = "N")]
    pub(super) jobs: Option<usize>,
    /// Print the plan, with every step and what it waits for, and write nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Do not read the target back; the report then says `not verified`
    #[arg(long)]
    no_proof: bool,
    /// What to do with existing rows or keys of the target
    ///
    /// Rows: refuse, truncate or append, with --into-existing or --data-only. Keys: refuse, replace or skip.
    #[arg(long, value_name = "POLICY")]
    pub(super) on_existing: Option<OnExisting>,
    /// Allow replacing the target's rows or keys by less than half as many
    ///
    /// With --clean, --on-existing truncate or --flush, a source with far fewer rows or keys than the target is refused:
    /// source and target may be swapped.
    #[arg(long)]
    allow_fewer: bool,
    #[command(flatten)]
    postgres: PostgresTargetArgs,
    #[command(flatten)]
    redis: RedisTargetArgs,
    #[command(flatten)]
    keys: RedisKeyArgs,
}

/// What to do with existing data of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OnExisting {
    /// Write nothing
    Refuse,
    /// Truncate the tables first
    Truncate,
    /// Keep the existing rows and add to them
    Append,
    /// Replace existing keys
    Replace,
    /// Keep existing keys
    Skip,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Redis target")]
struct RedisTargetArgs {
    /// Delete all keys of the target first; HOST:PORT must be the target's
    #[arg(long, value_name = "HOST:PORT")]
    flush: Option<String>,
    /// Maximum number of keys per second
    #[arg(long, value_name = "N")]
    rate: Option<u64>,
    /// Create the users of the source too, after its keys
    ///
    /// The users come from the source, or from a snapshot that was taken with --with-acl. Settings are not changed;
    /// those that differ are listed.
    #[arg(long)]
    with_acl: bool,
    /// What to do with values that the server cannot hold
    #[arg(long, value_name = "POLICY", default_value = "refuse")]
    on_unsupported: OnUnsupported,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnUnsupported {
    /// Write nothing and list them
    Refuse,
    /// Leave them out and list them
    Skip,
}

impl RedisTargetArgs {
    fn settings(
        &self,
        on_existing: Option<OnExisting>,
        jobs: usize,
        choice: redisdump::KeyChoice,
    ) -> redisdump::RestoreOptions {
        redisdump::RestoreOptions {
            connections: jobs.max(2),
            on_existing: match on_existing {
                Some(OnExisting::Replace) => redisdump::OnExisting::Replace,
                Some(OnExisting::Skip) => redisdump::OnExisting::Skip,
                _ => redisdump::OnExisting::Refuse,
            },
            flush: self.flush.clone(),
            choice,
            rate: self.rate,
            skip_unsupported: self.on_unsupported == OnUnsupported::Skip,
            ..redisdump::RestoreOptions::default()
        }
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "PostgreSQL target")]
struct PostgresTargetArgs {
    /// Make the connecting role the owner of every object
    #[arg(long)]
    no_owner: bool,
    /// Allow untested versions of extensions instead of refusing them
    #[arg(long)]
    untried_extensions: bool,
    /// Omit grants and default privileges
    #[arg(long)]
    no_acl: bool,
    /// Map one role to another; may be repeated
    #[arg(long, value_name = "OLD=NEW")]
    role_map: Vec<String>,
    /// Put everything into the database's own tablespace
    #[arg(long, conflicts_with = "tablespace_map")]
    no_tablespaces: bool,
    /// Map one tablespace to another; may be repeated
    #[arg(long, value_name = "OLD=NEW")]
    tablespace_map: Vec<String>,
    /// Create the database first, with the encoding, locale and settings of the source
    #[arg(long, conflicts_with_all = ["clean", "into_existing", "data_only"])]
    create: bool,
    /// Create missing roles, memberships and tablespaces first
    ///
    /// They come from the source's server, or from a snapshot that was taken with --globals. Existing ones are not
    /// changed.
    #[arg(long)]
    globals: bool,
    /// Drop the objects that will be restored first, and nothing else
    #[arg(long, conflicts_with_all = ["into_existing", "data_only"])]
    clean: bool,
    /// Continue an interrupted run: keep the tables that are complete, and load the others again
    ///
    /// The target may hold only objects that the same command would create; anything else is refused. A table is complete
    /// if its digest is that of the snapshot, or, for migrate, of a new snapshot of the source: so the result is as of one
    /// moment, as without the interruption. Incomplete tables that hold rows are emptied once --replace names the target.
    /// Databases that use TimescaleDB cannot be resumed.
    #[arg(long, conflicts_with_all = ["clean", "create", "into_existing", "data_only", "schema_only", "section"])]
    resume: bool,
    /// Confirm that the rows of this database are to be replaced by --clean, --resume or --on-existing truncate
    ///
    /// The database is named as it is reached. Without this option, rows are replaced only after a question at a terminal.
    #[arg(long, value_name = "HOST:PORT/DATABASE")]
    replace: Option<String>,
    /// Restore only rows, into existing tables; columns are matched by name
    #[arg(long)]
    into_existing: bool,
    /// Same as --into-existing
    #[arg(long, conflicts_with = "schema_only")]
    data_only: bool,
    /// Memory for all index builds that run at the same time, such as 1GiB
    ///
    /// It is divided between the connections, as maintenance_work_mem of each. Default: maintenance_work_mem of the
    /// server for each connection, and up to 256 MiB for each while all of them stay below a quarter of the machine's
    /// memory (below 1 GiB if the server does not report it). More than the machine has is refused. Parallel workers
    /// follow max_parallel_maintenance_workers and max_parallel_workers of the server.
    #[arg(long, value_name = "SIZE")]
    index_memory: Option<repository::ByteSize>,
    /// Restore everything except rows
    #[arg(long)]
    schema_only: bool,
    /// Restore only this section; may be repeated
    #[arg(long, value_name = "SECTION", conflicts_with_all = ["data_only", "schema_only", "into_existing"])]
    section: Vec<SectionArg>,
    /// What to do when the server rejects a statement
    #[arg(long, value_name = "POLICY", default_value = "stop")]
    on_error: OnErrorArg,
    /// search_path while indexes and constraints are created, for functions that use unqualified names
    #[arg(long, value_name = "SCHEMAS")]
    search_path: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SectionArg {
    /// Schemas, types, functions, tables
    PreData,
    /// Rows, sequence values, large objects
    Data,
    /// Indexes, constraints, triggers, privileges, materialized views
    PostData,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnErrorArg {
    /// Stop
    Stop,
    /// Continue, and list every rejected statement at the end (exit code 4)
    Continue,
}

impl TargetArgs {
    /// The flags as job settings. `part` is true if only part of the database is selected.
    pub(super) fn settings(&self, jobs: usize, part: bool) -> anyhow::Result<TargetSettings> {
        let args = &self.postgres;
        let mut settings = TargetSettings::new(jobs);
        settings.proof = !self.no_proof;
        settings.create = args.create;
        settings.globals = args.globals;
        settings.access = self.redis.with_acl;
        settings.redis = self.redis.settings(self.on_existing, jobs, self.keys.choice()?);
        settings.replacing = Replacing { named: args.replace.clone(), fewer: self.allow_fewer };
        if args.replace.is_some()
            && !args.clean
            && !args.resume
            && self.on_existing != Some(OnExisting::Truncate)
        {
            return Err(exit::usage(
                "--replace names the database whose rows --clean, --resume or --on-existing truncate replace: it needs one of them",
            ));
        }
        let postgres = &mut settings.postgres;
        postgres.no_owner = args.no_owner;
        postgres.no_acl = args.no_acl;
        postgres.untried_extensions = args.untried_extensions;
        postgres.role_map = renamed("--role-map", &args.role_map)?;
        postgres.no_tablespaces = args.no_tablespaces;
        postgres.tablespace_map = renamed("--tablespace-map", &args.tablespace_map)?;
        postgres.sections = args.sections();
        postgres.existing = self.existing(part)?;
        postgres.on_error = match args.on_error {
            OnErrorArg::Stop => OnError::Stop,
            OnErrorArg::Continue => OnError::Continue,
        };
        postgres.index_memory = args.index_memory.map(|size| size.0);
        postgres.search_path = args.search_path.as_deref().map(search_path);
        Ok(settings)
    }

    fn existing(&self, part: bool) -> anyhow::Result<Existing> {
        let args = &self.postgres;
        let rows_only = args.into_existing || args.sections() == Sections::DATA;
        let on_rows = match self.on_existing {
            None | Some(OnExisting::Refuse | OnExisting::Replace | OnExisting::Skip) => OnRows::Refuse,
            Some(OnExisting::Truncate) => OnRows::Truncate,
            Some(OnExisting::Append) => OnRows::Append,
        };
        if !rows_only && on_rows != OnRows::Refuse {
            return Err(exit::usage(
                "--on-existing truncate and append apply to existing tables: they require --into-existing or --data-only",
            ));
        }
        Ok(match (rows_only, args.clean, part) {
            (true, ..) => Existing::Into(on_rows),
            (_, true, _) => Existing::Clean,
            _ if args.resume => Existing::Resume,
            (.., true) => Existing::Beside,
            _ => Existing::Refuse,
        })
    }
}

impl PostgresTargetArgs {
    fn sections(&self) -> Sections {
        if self.schema_only {
            return Sections::SCHEMA;
        }
        if self.data_only || self.into_existing {
            return Sections::DATA;
        }
        if self.section.is_empty() {
            return Sections::ALL;
        }
        Sections {
            pre_data: self.section.contains(&SectionArg::PreData),
            data: self.section.contains(&SectionArg::Data),
            post_data: self.section.contains(&SectionArg::PostData),
        }
    }
}

/// Parses the `OLD=NEW` pairs of a flag.
pub(super) fn renamed(flag: &str, pairs: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let pair = |pair: &String| match pair.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() => Ok((old.to_owned(), new.to_owned())),
        _ => Err(exit::usage(format!("{flag} expects OLD=NEW, got `{pair}`"))),
    };
    pairs.iter().map(pair).collect()
}

/// A comma-separated list of names, each quoted, because the text becomes part of a statement.
fn search_path(text: &str) -> String {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.map(|name| pgmove::quote::ident(name).into_owned()).collect::<Vec<_>>().join(", ")
}
