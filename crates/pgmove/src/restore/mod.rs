//! Restoring into a database: finds every conflict before anything is written, then creates the schema, loads rows,
//! builds indexes.

mod batch;
mod blocked;
mod build;
mod clean;
mod compatibility;
pub(crate) mod context;
mod copy_in;
mod create;
mod deadlock;
pub(crate) mod event;
mod existing;
mod graph;
mod imported;
mod index_memory;
mod large_objects;
pub(crate) mod options;
pub(crate) mod plan;
mod planner;
mod privileges;
mod prove;
mod read_back;
mod resume;
mod resume_not_null;
mod rights;
mod row_count;
mod run;
mod schedule;
mod share;
mod statistics;
mod tables;
mod tablespaces;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt as _, TryStreamExt as _};
use tokio::sync::Notify;

use build::Build;
use context::Context;
use copy_in::CopyIn;
pub use create::{check_new_database, create_database, drop_created_database};
pub use event::RestoreEvent;
pub use graph::{Graph, Load, Node, StepNumber, Work};
pub use index_memory::IndexMemory;
pub use options::{Existing, Failure, OnError, OnRows, Sections, TargetOptions};
pub use plan::RestorePlan;
pub use row_count::{RowCount, count_rows};
pub use schedule::{GraphOutcome, TimeSpent};

use crate::Error;
use crate::catalog::{Catalog, QualifiedName, large_objects_table};
use crate::conflict::Conflict;
use crate::connect::value_settings::ValueSettings;
use crate::connect::{ConnectOptions, ServerIdentity, Session, VIEWS, connect, restricted};
use crate::ddl::{RenderOptions, Section, Statement, required_roles};
use crate::digest::TableProof;
use crate::dump::pool::{self, Pool};
use crate::dump::pool_warning;
use crate::error::BoxError;
use crate::error::EMPTY_SEARCH_PATH;
use crate::quote::ident;
use crate::timescaledb::rebuild;
use crate::warning::Warning;

/// An open target.
#[derive(Debug)]
pub struct Target {
    context: Context,
    /// Sessions that read tables back: fully pinned, while the workers have settings of the source.
    readers: Pool,
    /// The settings of the source that this server accepts.
    values: Mutex<ValueSettings>,
    build: Build,
    index_memory: IndexMemory,
    /// Proofs of tables before rows were added.
    before: Mutex<HashMap<QualifiedName, TableProof>>,
    /// Tables without statistics after a graph was run; `None` before.
    analyzed_last: Mutex<Option<Vec<QualifiedName>>>,
    /// Streams that more connections may load.
    shares: Mutex<Vec<Arc<share::Shared>>>,
    /// Notified when one is added.
    share_begun: Notify,
    /// Looks for sessions that are in the way, if the server has a connection left for it.
    observer: Mutex<Option<Session>>,
}

/// Commits do not wait for the disk, because an incomplete target is useless anyway. The last step does wait; the log
/// is written in order, so everything before it is then on disk too.
const PREPARE: &str = "SET synchronous_commit = off";

impl Target {
    /// Connects.
    pub async fn open(options: &ConnectOptions, settings: &TargetOptions) -> Result<Target, Error> {
        let session = connect(options).await?;
        if session.server().in_recovery {
            let what = format!("{} cannot be loaded", session.server());
            return Err(Error::refused(what, Conflict::Standby));
        }
        let path = settings.search_path.as_ref();
        let path = path.map(|path| format!("; SET search_path = {path}")).unwrap_or_default();
        if !path.is_empty() {
            session.execute("the search path", path.trim_start_matches("; ")).await?;
        }
        let build = Build::of(&session).await?;
        let index_memory = IndexMemory::of(&session, settings.index_memory, settings.jobs).await?;
        let prepare = format!("{PREPARE}; {}", index_memory.settings());
        session.execute("the session's settings", &prepare).await?;
        let workers = Pool::new(options, settings.jobs, format!("{prepare}{path}"));
        let readers = Pool::new(options, settings.jobs, restricted(VIEWS, false));
        workers.share_with(&readers);
        let (values, before, analyzed_last, shares, observer) = Default::default();
        let context = Context::new(session, workers, settings.clone());
        let share_begun = Notify::new();
        Ok(Target {
            context,
            readers,
            values,
            build,
            index_memory,
            before,
            analyzed_last,
            shares,
            share_begun,
            observer,
        })
    }

    /// What the server rejected while the restore continued ([`OnError::Continue`]), in order.
    pub fn failures(&self) -> Vec<Failure> {
        self.context.failures()
    }

    /// Something was not found: often by a function that uses an unqualified name, while the search path is empty.
    fn with_hint(&self, mut error: Error) -> Error {
        if let Error::Server { sqlstate, hint, context: Some(_), .. } = &mut error
            && matches!(sqlstate.as_str(), "42P01" | "42883" | "42704")
            && self.context.options.search_path.is_none()
        {
            *hint = Some(EMPTY_SEARCH_PATH.to_owned());
        }
        error
    }

    /// Prepares a continuous aggregate for its rows ([`RestorePlan::late`]). [`Target::copy_in`] then loads the
    /// source's rows, and [`Target::close_late`] completes it.
    ///
    /// # Errors
    /// [`Error::Server`] if a refresh fails.
    pub async fn open_late(&self, plan: &RestorePlan, name: &QualifiedName) -> Result<(), Error> {
        rebuild::late::open_late(&self.context, plan, name).await
    }

    /// Completes a continuous aggregate after its rows: its watermark, compression.
    ///
    /// # Errors
    /// [`Error::Server`] if the server rejects a statement.
    pub async fn close_late(&self, plan: &RestorePlan, name: &QualifiedName) -> Result<(), Error> {
        rebuild::late::close_late(&self.context, plan, name).await
    }

    /// Whether jobs were created that do not run yet.
    pub fn has_jobs(&self) -> bool {
        rebuild::jobs::has_jobs(&self.context)
    }

    /// Starts the jobs that ran at the source. Call it after verification: a policy may immediately compress or drop
    /// chunks that the proof has yet to read.
    ///
    /// # Errors
    /// [`Error::Server`] if the server rejects a statement.
    pub async fn start_jobs(&self, plan: &RestorePlan) -> Result<(), Error> {
        rebuild::jobs::start_jobs(&self.context, plan).await
    }

    /// Memory and parallel workers of each index build.
    pub fn index_memory(&self) -> IndexMemory {
        self.index_memory
    }

    /// Opens as many sessions as will work, so that a lack of connections shows before anything is written, and one
    /// that observes them: opened later, it could take the place of a worker that connects again. Returns how many
    /// workers are missing.
    ///
    /// # Errors
    /// [`Error::Connect`] if there is not even one.
    async fn reserve_connections(&self) -> Result<usize, Error> {
        let mut leases = Vec::new();
        let mut missing = 0;
        while leases.len() + missing < self.context.options.jobs.max(1) {
            match self.context.workers.try_open().await? {
                Some(lease) => leases.push(lease),
                None => missing += 1,
            }
        }
        if missing == 0 {
            let observer = connect(self.context.workers.options()).await.ok();
            *self.observer.lock().unwrap_or_else(PoisonError::into_inner) = observer;
        }
        leases.into_iter().for_each(pool::Lease::give_back);
        Ok(missing)
    }

    /// The server that was reached.
    pub fn server(&self) -> &ServerIdentity {
        self.context.session.server()
    }

    fn render_options(&self) -> RenderOptions {
        RenderOptions {
            no_lz4: !self.build.lz4,
            no_extension_comments: !self.build.superuser,
            no_public_comment: !self.build.owns_public,
            ..self.context.options.render()
        }
    }

    /// Creates the roles that the catalog names and the server lacks, without passwords. Only for private servers.
    pub async fn create_missing_roles(&self, catalog: &Catalog) -> Result<(), Error> {
        let present = planner::roles(&self.context.session).await?;
        let options = self.render_options();
        // Nobody can log in without a password; but the owner of a job must be allowed to.
        let owners: Vec<&str> = catalog
            .timescale
            .iter()
            .flat_map(|timescale| &timescale.jobs)
            .map(|job| options.role(&job.owner))
            .collect();
        for role in required_roles(catalog, &options).keys() {
            if !present.contains(role) {
                let login = if owners.contains(&role.as_str()) { " LOGIN" } else { "" };
                self.context
                    .session
                    .execute(&format!("role {role}"), &format!("CREATE ROLE {}{login}", ident(role)))
                    .await?;
            }
        }
        Ok(())
    }

    /// Renders the catalog for this server and finds every conflict. Writes nothing.
    ///
    /// # Errors
    /// [`Error::Refused`] with all conflicts: a target that is not empty, missing roles and extensions, objects that
    /// the server does not support. With [`OnError::Continue`] the latter are failures instead, and the rest is
    /// restored.
    pub async fn plan(&self, catalog: &Catalog) -> Result<RestorePlan, Error> {
        let catalog = &*tablespaces::mapped(&self.context.session, catalog, &self.context.options).await?;
        let mut plan = planner::make(
            &self.context.session,
            self.build,
            catalog,
            &self.render_options(),
            &self.context.options,
        )
        .await?;
        plan.warnings.extend(pool_warning(&self.context.session));
        plan.warnings.extend(self.index_memory.warning());
        let missing = self.reserve_connections().await?;
        if missing > 0 {
            let jobs = self.context.options.jobs;
            plan.warnings.push(Warning::FewerConnections { missing, jobs, ran: false });
        }
        let mut failures = self.context.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.extend(plan.beyond.iter().map(|object| Failure {
            object: format!("{} {}", object.kind, object.name),
            error: format!("it is missing or differs: {}", object.why),
        }));
        drop(failures);
        Ok(plan)
    }

    /// Creates everything that rows need: schemas, types, functions, tables. Objects to be replaced are dropped
    /// first; in an existing schema, tables are emptied if requested.
    pub async fn pre_data(&self, plan: &RestorePlan) -> Result<(), Error> {
        resume::prepare(&self.context.session, plan).await?;
        if let Some(drops) = &plan.drops {
            drops.carry_out(&self.context.session).await?;
        }
        if let Some(into) = &plan.into {
            for sql in &into.before {
                self.context.session.execute("emptying the tables", sql).await?;
            }
            if into.append {
                for table in plan.tables() {
                    let proof = self.read_back(plan, table, true).await?;
                    self.before.lock().unwrap_or_else(PoisonError::into_inner).insert(table.clone(), proof);
                }
            }
        }
        if self.context.options.sections.pre_data || plan.into.is_some() {
            tables::pre_data(self, plan).await?;
            rebuild::check_license(&self.context, plan).await?;
            rebuild::make_chunks(&self.context, plan).await?;
        }
        self.take_settings(plan).await
    }

    /// From here on the workers evaluate expressions like the source. Not earlier, because a user-defined text search
    /// configuration of the source does not exist before.
    async fn take_settings(&self, plan: &RestorePlan) -> Result<(), Error> {
        let (values, refused) = plan.values.clone().accepted(&self.context.session).await?;
        refused.into_iter().for_each(|warning| self.context.warn(warning));
        let path = self.context.options.search_path.as_ref();
        let path = path.map(|path| format!("; SET search_path = {path}")).unwrap_or_default();
        self.context.workers.prepare_by(format!(
            "{PREPARE}; {}{path}; {}",
            self.index_memory.settings(),
            values.for_rows()
        ));
        *self.values.lock().unwrap_or_else(PoisonError::into_inner) = values;
        Ok(())
    }

    /// Runs the refresh of materialized views under the source's settings.
    async fn as_at_source<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.context.session.execute("the session's settings", &values.for_views()).await?;
        let done = work.await?;
        self.context.session.execute("the session's settings", &values.undo()).await?;
        Ok(done)
    }

    /// Copies a stream of COPY text, or of binary rows ([`RestorePlan::load_binary`]), into a table, in its own
    /// transaction, and returns the number of rows. May be called for several streams in parallel, also of the same
    /// table.
    pub async fn copy_in<E: Into<BoxError>>(
        &self,
        plan: &RestorePlan,
        table: &QualifiedName,
        stream: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<u64, Error> {
        self.copy_stream(plan, table, false, stream).await
    }

    /// The same for a stream with all rows of the table: they are stored frozen, so that the server need not rewrite
    /// them later.
    pub async fn copy_in_whole<E: Into<BoxError>>(
        &self,
        plan: &RestorePlan,
        table: &QualifiedName,
        stream: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<u64, Error> {
        self.copy_stream(plan, table, plan.freezes(table), stream).await
    }

    async fn copy_stream<E: Into<BoxError>>(
        &self,
        plan: &RestorePlan,
        table: &QualifiedName,
        freeze: bool,
        stream: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<u64, Error> {
        let lease = self.context.workers.get().await?;
        if *table == large_objects_table() {
            let done = large_objects::write(lease.session(), stream).await;
            return Ok(self.context.note("large objects", done)?.map_or(0, |rows| {
                lease.give_back();
                rows
            }));
        }
        let place = self.context.place(table);
        let freeze = freeze && place.is_none();
        let statement = plan.copy_in_statement(table, place.as_ref().unwrap_or(table), freeze);
        let mut begin = plan.into.as_ref().map_or_else(String::new, |into| into.begin.clone());
        if freeze {
            // Rows may be stored frozen in a table that was truncated in the same transaction.
            begin = format!("TRUNCATE ONLY {table}");
        }
        let copy = CopyIn {
            session: lease.session(),
            object: format!("table {table}"),
            statement,
            format: plan.copy_format(table),
            idle_timeout: self.context.options.idle_timeout,
            begin: &begin,
        };
        let done = copy.run(stream).await;
        // A session with a failed transaction is not given back.
        Ok(self.context.note(&format!("table {table}"), done)?.map_or(0, |rows| {
            lease.give_back();
            rows
        }))
    }

    /// The graph of the work after the creation of tables, for these streams of rows and the requested sections. With
    /// `read_back`, each table is read back once it is loaded, if there are several connections.
    pub fn graph(&self, plan: &RestorePlan, catalog: &Catalog, loads: &[Load], read_back: bool) -> Graph {
        // With one connection, reading back cannot run in parallel.
        let read_back = read_back && self.context.options.jobs > 1;
        graph::make(plan, catalog, loads, self.context.options.sections.post_data, read_back)
    }

    /// Runs what follows the rows: values of sequences, then in parallel the indexes and constraints that no graph
    /// ([`Target::run_graph`]) has handled; compression.
    pub async fn post_data(
        &self,
        plan: &RestorePlan,
        on_event: &(dyn Fn(RestoreEvent) + Sync),
    ) -> Result<(), Error> {
        let sections = self.context.options.sections;
        if sections.data {
            run::in_order(self, plan, Section::Data, &|_| ()).await?;
        }
        if sections.post_data {
            // Referenced chunks cannot be compressed, but compressed ones can be referenced.
            let late = |statement: &Statement| plan.waits_for_compression(statement);
            let graph_ran = self.analyzed_last.lock().unwrap_or_else(PoisonError::into_inner).is_some();
            if !graph_ran {
                run::in_parallel(self, plan, &|statement| !late(statement), on_event).await?;
            }
            rebuild::late::settle_aggregates(&self.context, plan).await?;
            rebuild::compress(&self.context, plan, on_event).await?;
            run::in_parallel(self, plan, &late, on_event).await?;
        }
        self.context.tell(on_event);
        Ok(())
    }

    /// Everything else, after the last rows ([`RestorePlan::late`]): privileges, materialized views, event triggers,
    /// jobs that do not run yet; finally the planner's statistics.
    pub async fn finish(
        &self,
        plan: &RestorePlan,
        on_event: &(dyn Fn(RestoreEvent) + Sync),
    ) -> Result<(), Error> {
        if self.context.options.sections.post_data {
            rebuild::late::close_empty(&self.context, plan).await?;
            run::in_order(self, plan, Section::Privileges, &|_| ()).await?;
            self.settle_privileges(plan).await?;
            self.as_at_source(run::in_order(self, plan, Section::Finish, on_event)).await?;
            rebuild::jobs::make_jobs(&self.context, plan).await?;
        }
        self.context.tell(on_event);
        if let Some(into) = &plan.into {
            run::in_order(self, plan, Section::Privileges, &|_| ()).await?;
            self.as_at_source(async {
                for (object, sql) in &into.after {
                    self.context.note(object, self.context.session.execute(object, sql).await)?;
                }
                Ok(())
            })
            .await?;
            self.check_references(into).await?;
        }
        self.context.session.execute("the session's settings", "SET synchronous_commit = on").await?;
        let last = self.analyzed_last.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(tables) = last {
            stream::iter(&tables)
                .map(|table| self.import_or_collect_statistics(plan, table))
                .buffer_unordered(self.context.options.jobs.max(1))
                .try_collect::<()>()
                .await?;
            self.context.tell(on_event);
            return Ok(());
        }
        match self.context.session.execute("the planner's statistics", "ANALYZE").await {
            // For example, a foreign table among the partitions whose server is unreachable. Statistics are not
            // essential, and can be collected at any time.
            Err(error @ Error::Server { .. }) => {
                let warning = Warning::Statistics { table: None, detail: error.to_string() };
                on_event(RestoreEvent::Warned { warning });
                Ok(())
            }
            done => done,
        }
    }

    /// Rows were loaded while foreign keys were not checked: check them now.
    async fn check_references(&self, into: &plan::IntoExisting) -> Result<(), Error> {
        let mut dangling = Vec::new();
        for (name, sql) in &into.references {
            if self.context.session.value(name, sql).await?.is_some() {
                dangling.push(format!("{name}: some rows reference rows that do not exist"));
            }
        }
        match dangling.is_empty() {
            true => Ok(()),
            false => Err(Error::Dangling { server: self.server().to_string(), references: dangling }),
        }
    }
}
