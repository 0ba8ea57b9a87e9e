//! Runs a graph: each connection runs the ready node with free locks that has the longest path behind it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{FuturesUnordered, StreamExt as _};
use serde::Serialize;

use super::batch::{STATEMENTS, together};
use super::graph::{Graph, Node, StepNumber, Work};
use super::{RestoreEvent, RestorePlan, Target, deadlock};
use crate::Error;
use crate::catalog::QualifiedName;
use crate::digest::TableProof;
use crate::warning::Warning;

/// Time spent by a restore.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct TimeSpent {
    /// From the first row to the last node.
    pub wall: Duration,
    /// Loading rows, over all connections.
    pub load: Duration,
    /// Building indexes.
    pub index: Duration,
    /// Adding constraints, checking foreign keys, and other work after the rows.
    pub constraint: Duration,
    /// Collecting or importing statistics for the planner.
    pub analyze: Duration,
    /// Reading tables back.
    pub read_back: Duration,
    /// Connections without work.
    pub idle: Duration,
}

/// Result of running a graph.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct GraphOutcome {
    /// Proofs of the tables that were read back, except those whose reading failed.
    pub read_back: BTreeMap<QualifiedName, TableProof>,
    /// Time spent.
    pub spent: TimeSpent,
}

/// Result of a node.
enum Done {
    /// It ran.
    Ran,
    /// It was rejected, and the rest continues.
    Refused,
    /// It read a table back.
    Read(QualifiedName, TableProof),
}

/// Nodes that ran on one connection, their duration, and the result of each. An empty list is help for a load.
type Unit<E> = (Vec<usize>, Duration, Result<Vec<Done>, E>);

/// Chooses a stream of rows that must be read next, from those that could start.
type Urgent<'a> = dyn Fn(&mut dyn Iterator<Item = usize>) -> Option<usize> + Sync + 'a;

/// The nodes that have not started.
struct Waiting<'a> {
    nodes: &'a [Node],
    /// Number of unfinished dependencies of each node.
    needs: Vec<usize>,
    needed_by: Vec<Vec<usize>>,
    /// Ready nodes, the longest path first.
    ready: BTreeSet<(Reverse<u64>, usize)>,
}

impl<'a> Waiting<'a> {
    fn new(nodes: &'a [Node]) -> Waiting<'a> {
        let mut needed_by = vec![Vec::new(); nodes.len()];
        for (at, node) in nodes.iter().enumerate() {
            for need in &node.needs {
                if let Some(list) = needed_by.get_mut(*need) {
                    list.push(at);
                }
            }
        }
        let needs: Vec<usize> = nodes.iter().map(|node| node.needs.len()).collect();
        let ready = nodes.iter().enumerate().filter(|(_, node)| node.needs.is_empty());
        let ready = ready.map(|(at, node)| (Reverse(node.path), at)).collect();
        Waiting { nodes, needs, needed_by, ready }
    }

    /// The next node that may run in parallel with the running ones. An urgent stream of rows goes first.
    fn next(&mut self, running: &BTreeSet<usize>, urgent: &Urgent<'_>) -> Option<usize> {
        // Usually nothing is urgent, and the iterator is not read: the list of ready nodes may be long.
        let stream = |ready: &(Reverse<u64>, usize)| match self.nodes.get(ready.1).map(|node| &node.work) {
            Some(Work::Load { stream, .. }) => Some(*stream),
            _ => None,
        };
        if let Some(wanted) = urgent(&mut self.ready.iter().filter_map(stream))
            && let Some(ready) = self.ready.iter().find(|ready| stream(ready) == Some(wanted)).copied()
        {
            self.ready.remove(&ready);
            return Some(ready.1);
        }
        let free = |at: usize| running.iter().all(|other| !self.conflict(at, *other));
        let next = self.ready.iter().find(|(_, at)| free(*at)).copied()?;
        self.ready.remove(&next);
        Some(next.1)
    }

    /// Further nodes as cheap as this one, which may run in the same message: a share of the ready ones, so that
    /// other connections get theirs.
    fn with_others(&mut self, at: usize, running: &BTreeSet<usize>, jobs: usize) -> Vec<usize> {
        let imports = |at: usize| {
            matches!(self.nodes.get(at).map(|node| &node.work), Some(Work::ImportStatistics { .. }))
        };
        let cheap = |at: usize| self.nodes.get(at).is_some_and(is_cheap);
        let mut all = vec![at];
        if !cheap(at) {
            return all;
        }
        // Statements with results are not mixed with others.
        let alike = |other: usize| cheap(other) && imports(other) == imports(at);
        let others: Vec<(Reverse<u64>, usize)> =
            self.ready.iter().filter(|(_, other)| alike(*other)).take(STATEMENTS * jobs).copied().collect();
        for other in others.iter().take(others.len().div_ceil(jobs).min(STATEMENTS - 1)) {
            if running.iter().all(|busy| !self.conflict(other.1, *busy)) {
                self.ready.remove(other);
                all.push(other.1);
            }
        }
        all
    }

    fn done(&mut self, at: usize) {
        for next in self.needed_by.get(at).cloned().unwrap_or_default() {
            let (Some(needs), Some(node)) = (self.needs.get_mut(next), self.nodes.get(next)) else {
                continue;
            };
            *needs = needs.saturating_sub(1);
            if *needs == 0 {
                self.ready.insert((Reverse(node.path), next));
            }
        }
    }

    /// Statements with conflicting locks would only wait for each other, or deadlock.
    fn conflict(&self, a: usize, b: usize) -> bool {
        let (Some(a), Some(b)) = (self.nodes.get(a), self.nodes.get(b)) else { return false };
        a.locks.iter().any(|mine| {
            b.locks.iter().any(|theirs| mine.table == theirs.table && (mine.exclusive || theirs.exclusive))
        })
    }
}

/// Whether a node takes hardly longer than its round trip.
fn is_cheap(node: &Node) -> bool {
    let small = matches!(
        node.work,
        Work::Statement { step: None, .. } | Work::Analyze { .. } | Work::ImportStatistics { .. }
    );
    node.cost <= CHEAP_COST && small
}

/// In microseconds: about ten pages to read.
const CHEAP_COST: u64 = 1000;

impl Target {
    /// Runs a graph. `load` loads one of the streams that it was built for, by index, when its node runs; `urgent` may
    /// choose one of those that could start.
    ///
    /// # Errors
    /// The first error of a load or a node; other running work is dropped, and its connections are closed.
    pub async fn run_graph<'a, E: From<Error> + Send + 'a>(
        &'a self,
        plan: &'a RestorePlan,
        graph: &'a Graph,
        load: &(dyn Fn(usize) -> Option<BoxFuture<'a, Result<(), E>>> + Sync),
        urgent: &Urgent<'_>,
        on_event: &(dyn Fn(RestoreEvent) + Sync),
    ) -> Result<GraphOutcome, E> {
        let mut waiting = Waiting::new(&graph.nodes);
        let mut running = BTreeSet::new();
        let mut refused = BTreeSet::new();
        let mut outcome = GraphOutcome::default();
        let mut work: FuturesUnordered<BoxFuture<'a, Unit<E>>> = FuturesUnordered::new();
        let (begun, jobs) = (Instant::now(), self.context.options.jobs.max(1));
        loop {
            while work.len() < jobs
                && let Some(at) = waiting.next(&running, urgent)
            {
                let unit = match plan.timescale {
                    None => waiting.with_others(at, &running, jobs),
                    Some(_) => vec![at],
                };
                running.extend(&unit);
                let load = match graph.nodes.get(at).map(|node| &node.work) {
                    Some(Work::Load { stream, .. }) => load(*stream),
                    _ => None,
                };
                // Skip the second step if the first was rejected.
                let skip = graph.nodes.get(at).is_some_and(|node| {
                    matches!(&node.work, Work::Statement { step: Some(StepNumber::Then), .. })
                        && node.needs.iter().any(|need| refused.contains(need))
                });
                let run = async move {
                    let begun = Instant::now();
                    let done = match load {
                        Some(load) => load.await.map(|()| vec![Done::Ran]),
                        None if skip => Ok(vec![Done::Refused]),
                        None => self.run_unit(plan, graph, &unit).await.map_err(E::from),
                    };
                    (unit, begun.elapsed(), done)
                };
                work.push(run.boxed());
            }
            while work.len() < jobs
                && let Some(shared) = self.joinable()
            {
                let help = async move {
                    let begun = Instant::now();
                    self.help(plan, &shared).await;
                    (Vec::new(), begun.elapsed(), Ok(Vec::new()))
                };
                work.push(help.boxed());
            }
            let next = tokio::select! {
                next = work.next() => next,
                () = self.share_begun.notified() => continue,
            };
            let Some((unit, took, done)) = next else { break };
            if unit.is_empty() {
                outcome.spent.load += took;
            }
            let took = took / u32::try_from(unit.len().max(1)).unwrap_or(u32::MAX);
            for (at, done) in unit.into_iter().zip(done?) {
                running.remove(&at);
                waiting.done(at);
                match done {
                    Done::Ran => {}
                    Done::Refused => drop(refused.insert(at)),
                    Done::Read(table, proof) => drop(outcome.read_back.insert(table, proof)),
                }
                if let Some(node) = graph.nodes.get(at) {
                    self.account(plan, node, took, &mut outcome.spent);
                    if let Work::Statement { object, .. } = &node.work {
                        on_event(RestoreEvent::Ran { object: object.clone(), took });
                    }
                }
            }
        }
        outcome.spent.close(begun.elapsed(), jobs);
        if plan.into.is_none() {
            let last = Some(graph.analyzed_last.clone());
            *self.analyzed_last.lock().unwrap_or_else(PoisonError::into_inner) = last;
        }
        let missing = self.context.workers.take_missing() + self.readers.take_missing();
        if missing > 0 {
            self.context.warn(Warning::FewerConnections { missing, jobs, ran: true });
        }
        self.context.tell(on_event);
        Ok(outcome)
    }

    /// Runs nodes: several in one message, if the server accepts it.
    async fn run_unit(&self, plan: &RestorePlan, graph: &Graph, unit: &[usize]) -> Result<Vec<Done>, Error> {
        let nodes: Vec<&Node> = unit.iter().filter_map(|at| graph.nodes.get(*at)).collect();
        let imported = nodes.iter().filter_map(|node| match &node.work {
            Work::ImportStatistics { table } => Some(table),
            _ => None,
        });
        let imported: Vec<&QualifiedName> = imported.collect();
        if imported.len() == nodes.len() {
            self.import_statistics(plan, &imported).await?;
            return Ok(nodes.iter().map(|_| Done::Ran).collect());
        }
        if nodes.len() > 1 {
            let texts: Vec<(String, String)> =
                nodes.iter().filter_map(|node| self.text(plan, node)).collect();
            let pairs: Vec<(&str, &str)> = texts.iter().map(|(object, sql)| (&**object, &**sql)).collect();
            let lease = self.context.workers.get().await?;
            let done = pairs.len() == nodes.len() && together(lease.session(), &pairs).await?;
            lease.give_back();
            if done {
                return Ok(nodes.iter().map(|_| Done::Ran).collect());
            }
        }
        let mut all = Vec::with_capacity(nodes.len());
        for node in nodes {
            all.push(self.run_node(plan, node).await?);
        }
        Ok(all)
    }

    /// The object and the text of a node that is one statement.
    fn text(&self, plan: &RestorePlan, node: &Node) -> Option<(String, String)> {
        match &node.work {
            Work::Statement { object, statement, step: None } => {
                Some((object.clone(), plan.script.statements.get(*statement)?.sql.clone()))
            }
            Work::Analyze { table } => Some((statistics_of(table), self.analyze_statement(plan, table))),
            _ => None,
        }
    }

    async fn run_node(&self, plan: &RestorePlan, node: &Node) -> Result<Done, Error> {
        match &node.work {
            Work::Load { .. } | Work::Loaded => Ok(Done::Ran),
            Work::Statement { object, statement, step } => {
                let Some(statement) = plan.script.statements.get(*statement) else { return Ok(Done::Ran) };
                let sql = match (step, &statement.staged) {
                    (Some(StepNumber::First), Some(staged)) => &staged.first.sql,
                    (Some(StepNumber::Then), Some(staged)) => &staged.then.sql,
                    _ => &statement.sql,
                };
                let lease = self.context.workers.get().await?;
                let done =
                    deadlock::execute(lease.session(), object, sql).await.map_err(|e| self.with_hint(e));
                lease.give_back();
                Ok(self.context.note(object, done)?.map_or(Done::Refused, |_| Done::Ran))
            }
            Work::Analyze { table } | Work::ImportStatistics { table } => {
                self.import_or_collect_statistics(plan, table).await?;
                Ok(Done::Ran)
            }
            Work::ReadBack { table, large } => match self.prove_of_size(plan, table, *large).await {
                Ok(proof) => Ok(Done::Read(table.clone(), proof)),
                // The failure list already contains this error.
                Err(Error::Server { .. }) if !self.context.failures().is_empty() => Ok(Done::Refused),
                Err(error) => Err(error),
            },
        }
    }

    /// Collects a table's statistics. They are not essential, and can be collected at any time.
    pub(super) async fn analyze(&self, plan: &RestorePlan, table: &QualifiedName) -> Result<(), Error> {
        let lease = self.context.workers.get().await?;
        let sql = self.analyze_statement(plan, table);
        match deadlock::execute(lease.session(), &statistics_of(table), &sql).await {
            Err(error @ Error::Server { .. }) if !error.is_lost() => {
                self.context
                    .warn(Warning::Statistics { table: Some(table.clone()), detail: error.to_string() });
            }
            done => done?,
        }
        lease.give_back();
        Ok(())
    }

    fn account(&self, plan: &RestorePlan, node: &Node, took: Duration, spent: &mut TimeSpent) {
        let place = match &node.work {
            Work::Load { .. } | Work::Loaded => &mut spent.load,
            Work::Analyze { .. } | Work::ImportStatistics { .. } => &mut spent.analyze,
            Work::ReadBack { .. } => &mut spent.read_back,
            Work::Statement { statement, step, .. } => {
                let kind = plan.script.statements.get(*statement).map(|s| s.object.kind.as_str());
                match (kind, step) {
                    (Some("index"), _) | (Some("constraint"), None | Some(StepNumber::First)) => {
                        &mut spent.index
                    }
                    _ => &mut spent.constraint,
                }
            }
        };
        *place += took;
    }
}

pub(super) fn statistics_of(table: &QualifiedName) -> String {
    format!("the planner's statistics of {table}")
}

impl TimeSpent {
    fn close(&mut self, wall: Duration, connections: usize) {
        let busy = self.load + self.index + self.constraint + self.analyze + self.read_back;
        let connections = u32::try_from(connections).unwrap_or(u32::MAX);
        self.wall = wall;
        self.idle = wall.saturating_mul(connections).saturating_sub(busy);
    }
}
