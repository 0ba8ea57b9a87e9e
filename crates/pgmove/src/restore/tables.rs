//! The creation of tables on every connection.
//!
//! Statements about tables that do not depend on each other run in parallel; dependent ones keep their order on one
//! connection. Partitions are attached last: each attachment locks the parent, and the server reads the bounds of all its
//! other partitions.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::batch::{STATEMENTS, may_share, messages};
use super::options::OnError;
use super::plan::LARGE_OBJECT;
use super::{RestorePlan, Target};
use crate::Error;
use crate::ddl::{Section, Statement};

type Numbered<'a> = (usize, &'a Statement);

/// Runs the first section: statements about tables on all connections, the others in order.
pub(super) async fn pre_data(target: &Target, plan: &RestorePlan) -> Result<(), Error> {
    // Large objects count as data, with their owners and privileges.
    let data = target.context.options.sections.data;
    let all: Vec<Numbered<'_>> = plan
        .script
        .section(Section::PreData)
        .filter(|(_, statement)| data || statement.object.kind != LARGE_OBJECT)
        .collect();
    let parallel = target.context.options.jobs > 1
        && target.context.options.on_error == OnError::Stop
        && plan.timescale.is_none()
        && plan.resume.is_none();
    for run in all.chunk_by(|(_, a), (_, b)| of_tables(a) == of_tables(b)) {
        let tables = run.first().is_some_and(|(_, statement)| of_tables(statement));
        if parallel && tables && run.len() > STATEMENTS {
            for phase in phases(run) {
                run_groups_in_parallel(target, &phase).await?;
            }
            continue;
        }
        for message in messages(run.iter().map(|(_, statement)| *statement)) {
            target.send(&target.context.session, &message).await?;
        }
    }
    Ok(())
}

/// Whether a statement reads and locks only tables and sequences that it depends on.
fn of_tables(statement: &Statement) -> bool {
    const KINDS: [&str; 5] = ["table", "sequence", "default", "check constraint", "not-null constraint"];
    KINDS.contains(&statement.object.kind.as_str()) && may_share(statement)
}

fn attaches(statement: &Statement) -> bool {
    statement.sql.starts_with("ALTER TABLE ONLY ") && statement.sql.contains(" ATTACH PARTITION ")
}

/// First everything that does not depend on an attached partition, then the attachments and what depends on them. The
/// groups of a phase are independent of each other.
fn phases<'a>(run: &[Numbered<'a>]) -> [Vec<Vec<&'a Statement>>; 2] {
    let mut late = BTreeSet::new();
    for (at, statement) in run {
        if attaches(statement) || statement.depends_on.iter().any(|need| late.contains(need)) {
            late.insert(*at);
        }
    }
    // Only the edges of both phases together connect partition trees.
    let trees = groups(run);
    let early: Vec<Numbered<'_>> = run.iter().filter(|(at, _)| !late.contains(at)).copied().collect();
    let early = collect(&early, &groups(&early));
    let late: Vec<Numbered<'_>> = run.iter().filter(|(at, _)| late.contains(at)).copied().collect();
    [early, collect(&late, &trees)]
}

/// For each statement, the smallest position among those connected to it by dependencies within the run.
fn groups(run: &[Numbered<'_>]) -> HashMap<usize, usize> {
    fn root(of: &mut HashMap<usize, usize>, mut at: usize) -> usize {
        while let Some(&above) = of.get(&at)
            && above != at
        {
            let next = of.get(&above).copied().unwrap_or(above);
            of.insert(at, next);
            at = next;
        }
        at
    }
    let mut of: HashMap<usize, usize> = run.iter().map(|(at, _)| (*at, *at)).collect();
    for (at, statement) in run {
        for need in statement.depends_on.iter().filter(|need| **need != *at) {
            if of.contains_key(need) {
                let (a, b) = (root(&mut of, *at), root(&mut of, *need));
                of.insert(a.max(b), a.min(b));
            }
        }
    }
    run.iter().map(|(at, _)| (*at, root(&mut of, *at))).collect()
}

/// The statements of each group in order, and the groups in the order of their first statement.
fn collect<'a>(run: &[Numbered<'a>], groups: &HashMap<usize, usize>) -> Vec<Vec<&'a Statement>> {
    let mut all: BTreeMap<usize, Vec<&Statement>> = BTreeMap::new();
    for (at, statement) in run {
        all.entry(groups.get(at).copied().unwrap_or(*at)).or_default().push(statement);
    }
    all.into_values().collect()
}

/// Runs groups on all connections: small ones share messages, a large one takes several.
async fn run_groups_in_parallel(target: &Target, groups: &[Vec<&Statement>]) -> Result<(), Error> {
    let mut work: Vec<Vec<&Statement>> = Vec::new();
    for group in groups {
        match work.last_mut() {
            Some(last) if last.len() + group.len() <= STATEMENTS => last.extend(group),
            _ => work.push(group.clone()),
        }
    }
    // The largest first, so that no connection ends long after the others.
    work.sort_by_key(|group| std::cmp::Reverse(group.len()));
    stream::iter(work)
        .map(|group| async move {
            let lease = target.context.workers.get().await?;
            for message in messages(group.into_iter()) {
                target.send(lease.session(), &message).await?;
            }
            lease.give_back();
            Ok(())
        })
        .buffer_unordered(target.context.options.jobs)
        .try_collect()
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ddl::ObjectRef;

    fn statement(sql: &str, depends_on: &[usize]) -> Statement {
        Statement {
            section: Section::PreData,
            object: ObjectRef { kind: "table".to_owned(), name: "t".to_owned() },
            sql: sql.to_owned(),
            owner: None,
            weight: 0,
            depends_on: depends_on.to_vec(),
            locks: Vec::new(),
            extension: None,
            staged: None,
            done: false,
        }
    }

    #[test]
    fn dependent_statements_share_a_group_and_attaching_comes_last() {
        let script = [
            statement("CREATE TABLE a ()", &[]),
            statement("CREATE TABLE parent () PARTITION BY RANGE (k)", &[]),
            statement("CREATE TABLE p1 ()", &[]),
            statement("ALTER TABLE ONLY parent ATTACH PARTITION p1 DEFAULT", &[1, 2]),
            statement("CREATE TABLE p2 ()", &[]),
            statement("ALTER TABLE ONLY parent ATTACH PARTITION p2 DEFAULT", &[1, 4]),
            statement("ALTER TABLE p2 ALTER COLUMN k SET DEFAULT 1", &[5]),
            statement("ALTER TABLE a ALTER COLUMN k SET DEFAULT 1", &[0]),
            statement("CREATE TABLE b () INHERITS (a)", &[0]),
        ];
        let run: Vec<Numbered<'_>> = script.iter().enumerate().collect();
        let sql = |phase: &Vec<Vec<&Statement>>| -> Vec<Vec<usize>> {
            let at = |one: &&Statement| script.iter().position(|other| std::ptr::eq(*one, other)).unwrap();
            phase.iter().map(|group| group.iter().map(at).collect()).collect()
        };
        let [early, late] = phases(&run);
        assert_eq!(sql(&early), [vec![0, 7, 8], vec![1], vec![2], vec![4]]);
        assert_eq!(sql(&late), [vec![3, 5, 6]]);
    }

    #[test]
    fn a_statement_that_is_left_out_still_orders_others() {
        let script = [
            statement("CREATE TABLE parent ()", &[]),
            statement("", &[0]),
            statement("CREATE TABLE child () INHERITS (parent)", &[1]),
        ];
        let run: Vec<Numbered<'_>> = script.iter().enumerate().collect();
        let [early, _] = phases(&run);
        assert_eq!(early.iter().map(Vec::len).collect::<Vec<_>>(), [3]);
        let sent: usize = messages(early.into_iter().flatten()).iter().map(Vec::len).sum();
        assert_eq!(sent, 2);
    }
}
