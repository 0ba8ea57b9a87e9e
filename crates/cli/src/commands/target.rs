//! Flags of every command that writes into a target.

use clap::{Args, ValueEnum};
use pgmove::{Existing, OnError, OnRows, Sections};

use crate::exit;
use crate::jobs::settings::TargetSettings;

/// How a target is filled.
#[derive(Debug, Args)]
#[command(next_help_heading = "Target")]
pub(crate) struct TargetArgs {
    /// Connections that work at the same time
    #[arg(long, short, value_name = "N")]
    pub(super) jobs: Option<usize>,
    /// Do not read the target back; the report then says that nothing was proven
    #[arg(long)]
    no_proof: bool,
    /// What to do with what the target holds already. Rows of a table: refuse, truncate or append (with
    /// --into-existing and --data-only). Keys: refuse, replace or skip
    #[arg(long, value_name = "POLICY")]
    pub(super) on_existing: Option<OnExisting>,
    #[command(flatten)]
    postgres: PostgresTargetArgs,
    #[command(flatten)]
    redis: RedisTargetArgs,
}

/// What to do with what the target holds already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OnExisting {
    /// Write nothing
    Refuse,
    /// Empty the tables first
    Truncate,
    /// Leave the rows and add to them
    Append,
    /// Replace keys of the same name
    Replace,
    /// Leave keys of the same name as they are
    Skip,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Redis target")]
struct RedisTargetArgs {
    /// Empty the whole server first; it must be named as it is reached
    #[arg(long, value_name = "HOST:PORT")]
    flush: Option<String>,
    /// Put the keys of one database into another; may be repeated
    #[arg(long, value_name = "FROM=TO")]
    db: Vec<String>,
    /// Only keys whose names match, as KEYS reads patterns; may be repeated
    #[arg(long, value_name = "PATTERN")]
    key: Vec<String>,
    /// No keys whose names match; may be repeated
    #[arg(long, value_name = "PATTERN")]
    exclude_key: Vec<String>,
    /// Keys a second, at the most
    #[arg(long, value_name = "N")]
    rate: Option<u64>,
    /// Make the users of the source too, after its keys: from the source, or what the snapshot holds when it was taken
    /// with --with-acl. Settings are not changed; those that differ are told
    #[arg(long)]
    with_acl: bool,
    /// What to do about what the server cannot hold: name it and write nothing, or leave it out and name it
    #[arg(long, value_name = "refuse|skip", default_value = "refuse")]
    on_unsupported: OnUnsupported,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnUnsupported {
    Refuse,
    Skip,
}

impl RedisTargetArgs {
    fn settings(
        &self,
        on_existing: Option<OnExisting>,
        jobs: usize,
    ) -> anyhow::Result<redisdump::RestoreOptions> {
        let mut databases = std::collections::BTreeMap::new();
        for pair in &self.db {
            let numbers =
                pair.split_once('=').and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
            let Some((from, to)) = numbers else {
                return Err(exit::usage(format!(
                    "--db wants FROM=TO, two numbers of databases, and got `{pair}`"
                )));
            };
            if databases.insert(from, to).is_some_and(|other| other != to) {
                return Err(exit::usage(format!("--db sends database {from} to two others")));
            }
        }
        Ok(redisdump::RestoreOptions {
            connections: jobs.max(2),
            on_existing: match on_existing {
                Some(OnExisting::Replace) => redisdump::OnExisting::Replace,
                Some(OnExisting::Skip) => redisdump::OnExisting::Skip,
                _ => redisdump::OnExisting::Refuse,
            },
            flush: self.flush.clone(),
            choice: redisdump::KeyChoice {
                include: self.key.clone(),
                exclude: self.exclude_key.clone(),
                databases,
            },
            rate: self.rate,
            skip_unsupported: self.on_unsupported == OnUnsupported::Skip,
            ..redisdump::RestoreOptions::default()
        })
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "PostgreSQL target")]
struct PostgresTargetArgs {
    /// Let the connecting role own everything, instead of the roles that owned it at the source
    #[arg(long)]
    no_owner: bool,
    /// Try extensions in versions that nobody has tried, instead of refusing them
    #[arg(long)]
    untried_extensions: bool,
    /// Leave grants and default privileges out
    #[arg(long)]
    no_acl: bool,
    /// Put one role in another's place; may be repeated
    #[arg(long, value_name = "OLD=NEW")]
    role_map: Vec<String>,
    /// Make the database first, with the encoding, locale and settings of the source's
    #[arg(long, conflicts_with_all = ["clean", "into_existing", "data_only"])]
    create: bool,
    /// Make first the roles, memberships and tablespaces that the server lacks: those of the source's server, which a
    /// snapshot holds when it was taken with --globals. What is there already is left as it is
    #[arg(long)]
    globals: bool,
    /// Drop first what is going to be made, and nothing else
    #[arg(long, conflicts_with_all = ["into_existing", "data_only"])]
    clean: bool,
    /// Bring only rows, into tables that are there: made by the application's own scripts, with columns matched by name
    #[arg(long)]
    into_existing: bool,
    /// The same as --into-existing
    #[arg(long, conflicts_with = "schema_only")]
    data_only: bool,
    /// Bring everything but rows
    #[arg(long)]
    schema_only: bool,
    /// Only this part of the work; may be repeated
    #[arg(long, value_name = "SECTION", conflicts_with_all = ["data_only", "schema_only", "into_existing"])]
    section: Vec<SectionArg>,
    /// When the server refuses a statement: stop, or go on and list every refusal at the end (exit code 4)
    #[arg(long, value_name = "stop|continue", default_value = "stop")]
    on_error: OnErrorArg,
    /// The search path while indexes and constraints are made, for functions that name tables without their schema
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
    Stop,
    Continue,
}

impl TargetArgs {
    /// The flags as the jobs take them. `part` says that only a part of the database is meant.
    pub(super) fn settings(&self, jobs: usize, part: bool) -> anyhow::Result<TargetSettings> {
        let args = &self.postgres;
        let mut settings = TargetSettings::new(jobs);
        settings.proof = !self.no_proof;
        settings.create = args.create;
        settings.globals = args.globals;
        settings.access = self.redis.with_acl;
        settings.redis = self.redis.settings(self.on_existing, jobs)?;
        let postgres = &mut settings.postgres;
        postgres.no_owner = args.no_owner;
        postgres.no_acl = args.no_acl;
        postgres.untried_extensions = args.untried_extensions;
        for pair in &args.role_map {
            match pair.split_once('=') {
                Some((old, new)) if !old.is_empty() && !new.is_empty() => {
                    postgres.role_map.insert(old.to_owned(), new.to_owned());
                }
                _ => return Err(exit::usage(format!("--role-map wants OLD=NEW, and got `{pair}`"))),
            }
        }
        postgres.sections = args.sections();
        postgres.existing = self.existing(part)?;
        postgres.on_error = match args.on_error {
            OnErrorArg::Stop => OnError::Stop,
            OnErrorArg::Continue => OnError::Continue,
        };
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
                "--on-existing truncate and append speak of rows in tables that are there: they need --into-existing or --data-only",
            ));
        }
        Ok(match (rows_only, args.clean, part) {
            (true, ..) => Existing::Into(on_rows),
            (_, true, _) => Existing::Clean,
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

/// Names separated by commas, each quoted: what is given here goes into a statement.
fn search_path(text: &str) -> String {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.map(|name| pgmove::quote::ident(name).into_owned()).collect::<Vec<_>>().join(", ")
}
