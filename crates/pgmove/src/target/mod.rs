//! A database that is filled: every conflict found before anything is written; then schema, rows, indexes.

mod copy_in;
mod large_objects;
mod plan;
mod run;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt as _, TryStreamExt as _};

use copy_in::CopyIn;
pub use plan::RestorePlan;

use crate::Error;
use crate::catalog::{Catalog, QualifiedName, large_objects_table};
use crate::connect::{ConnectOptions, ServerIdentity, Session, connect};
use crate::copy::{CopyOut, Wanted};
use crate::ddl::{RenderOptions, Section, required_roles};
use crate::digest::TableProof;
use crate::pool::Pool;
use crate::quote::ident;
use crate::source::{PageRange, SLICE_PAGES, pool_warning, ranges};

/// How a target is filled.
#[derive(Debug, Clone)]
pub struct TargetOptions {
    /// Connections that work at the same time.
    pub jobs: usize,
    /// The connecting role owns everything.
    pub no_owner: bool,
    /// Grants and default privileges are left out.
    pub no_acl: bool,
    /// Other names for roles.
    pub role_map: BTreeMap<String, String>,
    /// How long the server may take nothing of a table, or send nothing of it when it is read back.
    pub patience: Duration,
}

impl Default for TargetOptions {
    fn default() -> Self {
        TargetOptions {
            jobs: 2,
            no_owner: false,
            no_acl: false,
            role_map: BTreeMap::new(),
            patience: Duration::from_secs(1800),
        }
    }
}

/// Something that was done to the target.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum RestoreEvent {
    /// A statement ran.
    Ran {
        /// What it was about.
        object: String,
        /// How long it took.
        took: Duration,
    },
}

impl fmt::Display for RestoreEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestoreEvent::Ran { object, took } => write!(f, "{object} ({:.1}s)", took.as_secs_f64()),
        }
    }
}

/// An open target.
#[derive(Debug)]
pub struct Target {
    session: Session,
    workers: Pool,
    options: TargetOptions,
}

/// No commit waits for the disk: until the end of the restore the whole target is void anyway. The last step does
/// wait, and what is on disk then has all before it on disk too, for the log is written in order.
const PREPARE: &str = "SET synchronous_commit = off; SET maintenance_work_mem = '256MB'";

impl Target {
    /// Connects.
    pub async fn open(options: &ConnectOptions, settings: &TargetOptions) -> Result<Target, Error> {
        let session = connect(options).await?;
        session.execute("the session's settings", PREPARE).await?;
        if session.server().in_recovery {
            return Err(Error::Refused {
                what: format!("{} cannot be filled", session.server()),
                conflicts: vec!["it is a standby, and read-only: name the primary".to_owned()],
            });
        }
        let workers = Pool::new(options, settings.jobs, PREPARE.to_owned());
        Ok(Target { session, workers, options: settings.clone() })
    }

    /// The server that was reached.
    pub fn server(&self) -> &ServerIdentity {
        self.session.server()
    }

    fn render_options(&self) -> RenderOptions {
        RenderOptions {
            no_owner: self.options.no_owner,
            no_acl: self.options.no_acl,
            role_map: self.options.role_map.clone(),
            ..RenderOptions::default()
        }
    }

    /// Makes the roles that the catalog names and the server lacks, without login. Only for servers of one's own.
    pub async fn create_missing_roles(&self, catalog: &Catalog) -> Result<(), Error> {
        let present = plan::roles(&self.session).await?;
        for role in required_roles(catalog, &self.render_options()).keys() {
            if !present.contains(role) {
                self.session
                    .execute(&format!("role {role}"), &format!("CREATE ROLE {}", ident(role)))
                    .await?;
            }
        }
        Ok(())
    }

    /// Renders the catalog for this server and looks for every conflict. Writes nothing.
    ///
    /// # Errors
    /// [`Error::Refused`] with all conflicts at once: a target that is not empty, roles and extensions that are
    /// missing, objects that an older server cannot express.
    pub async fn plan(&self, catalog: &Catalog) -> Result<RestorePlan, Error> {
        let mut plan = plan::make(&self.session, catalog, &self.render_options()).await?;
        plan.warnings.extend(pool_warning(&self.session));
        Ok(plan)
    }

    /// Makes everything that rows need: schemas, types, functions, tables.
    pub async fn pre_data(&self, plan: &RestorePlan) -> Result<(), Error> {
        run::in_order(&self.session, plan, Section::PreData, &|_| ()).await
    }

    /// Copies a stream of COPY text into a table, in a transaction of its own, and gives the number of rows. May be
    /// called for several streams at the same time, also of one table.
    pub async fn copy_in<E>(
        &self,
        plan: &RestorePlan,
        table: &QualifiedName,
        stream: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<u64, Error>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let lease = self.workers.get().await?;
        if *table == large_objects_table() {
            let rows = large_objects::write(lease.session(), stream).await?;
            lease.give_back();
            return Ok(rows);
        }
        let copy = CopyIn {
            session: lease.session(),
            object: format!("table {table}"),
            statement: plan.copy_in_statement(table),
            patience: self.options.patience,
        };
        let rows = copy.run(stream).await?;
        lease.give_back();
        Ok(rows)
    }

    /// Everything after the rows: sequences, then indexes and constraints in parallel, then privileges, materialized
    /// views and event triggers; at last the planner's statistics.
    pub async fn post_data(
        &self,
        plan: &RestorePlan,
        on_event: &(dyn Fn(RestoreEvent) + Sync),
    ) -> Result<(), Error> {
        run::in_order(&self.session, plan, Section::Data, &|_| ()).await?;
        run::in_parallel(&self.workers, plan, self.options.jobs, on_event).await?;
        run::in_order(&self.session, plan, Section::Privileges, &|_| ()).await?;
        run::in_order(&self.session, plan, Section::Finish, on_event).await?;
        self.session.execute("the session's settings", "SET synchronous_commit = on").await?;
        self.session.execute("the planner's statistics", "ANALYZE").await
    }

    /// Reads a table back and digests it, in parallel where the table is large.
    pub async fn prove(&self, plan: &RestorePlan, table: &QualifiedName) -> Result<TableProof, Error> {
        let (columns, condition) = plan.columns(table);
        let splits = self.server().version_num >= 140_000 && condition.is_empty();
        let ranges = if splits { ranges(self.pages(table).await?, SLICE_PAGES) } else { None };
        let ranges: Vec<Option<PageRange>> =
            ranges.map_or_else(|| vec![None], |ranges| ranges.into_iter().map(Some).collect());
        stream::iter(ranges)
            .map(|pages| {
                let wanted = Wanted { table, columns: &columns, pages, condition: &condition };
                async move { CopyOut::start(&self.workers, wanted, self.options.patience).await?.drain().await }
            })
            .buffer_unordered(self.options.jobs.max(1))
            .try_fold(TableProof::default(), |sum, proof| async move { Ok(sum + proof) })
            .await
    }

    async fn pages(&self, table: &QualifiedName) -> Result<u64, Error> {
        let name = crate::quote::literal(&table.to_string());
        let sql = format!("SELECT pg_relation_size({name}::regclass) / current_setting('block_size')::int8");
        let pages = self.session.value(&format!("table {table}"), &sql).await?;
        Ok(pages.and_then(|n| n.parse().ok()).unwrap_or(0))
    }
}
