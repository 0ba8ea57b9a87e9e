//! Determines the order in which migrations can run, by running them on a [`State`] instead of a server.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::{Action, MigrationRemedy, Plan, PlanOptions, PlannedFile, Status};
use super::state::State;
use super::status::{FileStatus, describe, file_statuses};
use crate::baseline::script::Script;
use crate::baseline::script::effect::{Effects, Mark, Object};
use crate::baseline::{Baseline, BaselineError};
use crate::catalog::Catalog;

/// Plans how to bring a database up to these files. `search_path` lists the schemas in which unqualified names are
/// looked up; objects are created in the first.
///
/// # Errors
/// [`BaselineError::UnknownEnvironment`] for an environment that the baseline does not list, and
/// [`BaselineError::UnknownScript`] for a migration to run or skip that is in none of the files.
pub fn plan(
    scripts: &[Script],
    catalog: &Catalog,
    search_path: &[String],
    options: &PlanOptions<'_>,
) -> Result<Plan, BaselineError> {
    if let (Some(baseline), Some(environment)) = (options.baseline, options.environment) {
        baseline.knows_environment(environment)?;
    }
    for name in options.run.iter().chain(options.skip) {
        if !scripts.iter().any(|script| script.name == *name) {
            let names = scripts.iter().map(|script| script.name.as_str());
            return Err(BaselineError::UnknownScript {
                name: name.clone(),
                suggestion: crate::baseline::types::nearest(name, names),
            });
        }
    }
    let scripts = sorted(scripts, options.baseline);
    let state = State::of(catalog, search_path);
    let made = made(&scripts, &state);
    let mut work =
        Work { statuses: file_statuses(&scripts, &state), scripts: &scripts, state, made, options };
    let actions = work.first_actions();
    Ok(work.settle(actions))
}

/// Declared migrations in the baseline's order, then the others by name, with numbers compared by value.
fn sorted(scripts: &[Script], baseline: Option<&Baseline>) -> Vec<Script> {
    let place = |script: &Script| {
        let declared = |baseline: &Baseline| {
            baseline.migrations.iter().position(|migration| migration.name == script.name)
        };
        baseline.and_then(declared).unwrap_or(usize::MAX)
    };
    let mut sorted = scripts.to_vec();
    sorted.sort_by_key(|script| (place(script), natural(&script.name)));
    sorted
}

/// A sort key in which `v3_10` comes after `v3_9`.
fn natural(name: &str) -> Vec<(String, u128)> {
    let (mut parts, mut text, mut digits) = (Vec::new(), String::new(), String::new());
    for c in name.chars().chain(['\0']) {
        if c.is_ascii_digit() {
            digits.push(c);
        } else {
            if !digits.is_empty() {
                let number = digits.parse().unwrap_or(u128::MAX);
                parts.push((std::mem::take(&mut text), number));
                digits.clear();
            }
            text.push(c);
        }
    }
    parts.push((text, 0));
    parts
}

struct Work<'a> {
    scripts: &'a [Script],
    statuses: Vec<FileStatus>,
    state: State,
    /// The files that create each object.
    made: BTreeMap<Object, BTreeSet<usize>>,
    options: &'a PlanOptions<'a>,
}

fn made(scripts: &[Script], state: &State) -> BTreeMap<Object, BTreeSet<usize>> {
    let mut made: BTreeMap<Object, BTreeSet<usize>> = BTreeMap::new();
    for (at, script) in scripts.iter().enumerate() {
        for statement in &script.statements {
            for mark in &statement.effect.marks {
                if let Mark::Present(object) | Mark::Replaced(object) = mark {
                    let object = state.resolve(object, statement.effect.path.as_deref());
                    made.entry(object).or_default().insert(at);
                }
            }
        }
    }
    made
}

/// An object that a file needs and that does not exist.
struct MissingObject {
    object: Object,
    line: usize,
}

impl Work<'_> {
    /// The actions that follow from each file's status alone.
    fn first_actions(&mut self) -> Vec<(Action, Vec<String>)> {
        let mut actions = Vec::new();
        for (script, found) in self.scripts.iter().zip(&self.statuses) {
            let optional = self.options.environment.is_some_and(|environment| {
                let migration = self.options.baseline.and_then(|baseline| baseline.migration(&script.name));
                migration.is_some_and(|migration| migration.optional_in.contains(environment))
            });
            let forced = self.options.run.contains(&script.name);
            actions.push(match found.status {
                _ if self.options.skip.contains(&script.name) => {
                    (Action::Skip, vec!["skipped on request".to_owned()])
                }
                _ if forced => (Action::Run, vec!["run on request".to_owned()]),
                Status::Applied => (Action::Nothing, Vec::new()),
                _ if optional => {
                    let environment = self.options.environment.unwrap_or_default();
                    (Action::Skip, vec![format!("optional in {environment}")])
                }
                Status::Unknown => (Action::Ask, Vec::new()),
                Status::Missing | Status::Partly => (Action::Run, Vec::new()),
            });
        }
        // A file that needs an object which is yet to be created cannot have run.
        for (at, script) in self.scripts.iter().enumerate() {
            if !actions.get(at).is_some_and(|(action, _)| *action == Action::Ask) {
                continue;
            }
            let makers = |object: &Object| self.makers(object, at);
            let unmet = self.unmet(script, &self.state, at);
            let waits = unmet.iter().any(|unmet| {
                makers(&unmet.object)
                    .iter()
                    .any(|maker| actions.get(*maker).is_some_and(|(action, _)| *action == Action::Run))
            });
            if let Some((action @ Action::Ask, _)) = actions.get_mut(at)
                && waits
            {
                *action = Action::Run;
                if let Some(found) = self.statuses.get_mut(at) {
                    found.status = Status::Missing;
                }
            }
        }
        actions
    }

    /// The other files that create an object.
    fn makers(&self, object: &Object, except: usize) -> Vec<usize> {
        let makers = self.made.get(object).into_iter().flatten().copied();
        makers.filter(|maker| *maker != except).collect()
    }

    /// What a file would lack if it ran in this state.
    fn unmet(&self, script: &Script, state: &State, at: usize) -> Vec<MissingObject> {
        let mut state = state.clone();
        let mut unmet: Vec<MissingObject> = Vec::new();
        let mut anything = false;
        for statement in &script.statements {
            let effect = &statement.effect;
            if !state.is_noop(effect) {
                let wanted = effect.needs.iter().map(|object| (object, true));
                for (object, sure) in wanted.chain(effect.uses.iter().map(|object| (object, false))) {
                    let object = state.resolve(object, effect.path.as_deref());
                    if state.has(&object) || unmet.iter().any(|known| known.object == object) {
                        continue;
                    }
                    // A missing column is not reported if its table is missing.
                    let table = match &object {
                        Object::Column(table, _) => Some(Object::Relation(table.clone())),
                        _ => None,
                    };
                    if table.is_some_and(|table| !state.has(&table)) {
                        continue;
                    }
                    // Objects that only seem to be used count if a file creates them; an earlier DO block or function
                    // may have created what no file creates by a statement.
                    if (sure && !anything) || !self.makers(&object, at).is_empty() {
                        unmet.push(MissingObject { object, line: statement.line });
                    }
                }
            }
            anything |= effect.effects == Effects::Unknown;
            state.run(effect);
        }
        unmet
    }

    /// Descriptions of what a file creates and a state lacks.
    fn left(&self, script: &Script, state: &State) -> Vec<String> {
        let mut after = state.clone();
        for statement in &script.statements {
            after.run(&statement.effect);
        }
        let mut left = Vec::new();
        for statement in &script.statements {
            let path = statement.effect.path.as_deref();
            for mark in &statement.effect.marks {
                // What the file itself undoes does not remain to be done.
                let passing = !after.holds(mark, path) && !statement.effect.if_not_exists;
                if !passing && !state.holds(mark, path) {
                    left.push(describe(mark, &statement.effect, state));
                }
            }
        }
        left
    }

    fn settle(self, mut actions: Vec<(Action, Vec<String>)>) -> Plan {
        let mut state = self.state.clone();
        let mut order = Vec::new();
        let mut drops: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        let mut remedies = BTreeMap::new();
        let mut pending: BTreeSet<usize> =
            actions.iter().enumerate().filter(|(_, (a, _))| *a == Action::Run).map(|(at, _)| at).collect();
        let mut waited: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        while !pending.is_empty() {
            let mut next = None;
            for &at in &pending {
                let Some(script) = self.scripts.get(at) else { continue };
                let forced = self.options.run.contains(&script.name);
                let status = self.statuses.get(at).map(|found| found.status);
                // Marks alone show that nothing remains: a file that also changes rows still has to run.
                let covered = !forced
                    && self.left(script, &state).is_empty()
                    && script.statements.iter().all(|statement| {
                        !matches!(statement.effect.effects, Effects::Rows | Effects::Unknown)
                    });
                let mut unmet = self.unmet(script, &state, at);
                if forced {
                    // A file run on request may rely on objects that no file creates.
                    unmet.retain(|unmet| {
                        self.makers(&unmet.object, at).iter().any(|maker| pending.contains(maker))
                    });
                }
                if covered || unmet.is_empty() {
                    next = Some((at, covered, status));
                    break;
                }
                waited
                    .entry(at)
                    .or_insert_with(|| unmet.iter().map(|unmet| self.need(unmet, at, &actions)).collect());
            }
            let Some((at, covered, status)) = next else { break };
            pending.remove(&at);
            let (Some(script), Some((action, reasons))) = (self.scripts.get(at), actions.get_mut(at)) else {
                continue;
            };
            let needed = waited.remove(&at).unwrap_or_default();
            if covered {
                *action = Action::Covered;
                reasons.extend(needed);
                reasons.push("the preceding files create everything in it".to_owned());
                continue;
            }
            if let Some((obstacle, remedy)) = self.obstacle(at, status, &state) {
                *action = Action::Blocked;
                reasons.push(obstacle);
                remedies.extend(remedy.map(|remedy| (at, remedy)));
                continue;
            }
            if !needed.is_empty() {
                reasons.extend(needed);
                reasons.push("so it runs afterwards".to_owned());
            }
            drops.insert(at, dropped(script, &state));
            for statement in &script.statements {
                state.run(&statement.effect);
            }
            order.push(script.name.clone());
        }
        for &at in &pending {
            let (reasons, remedy) = self.stuck(at, &pending, &state, &actions);
            remedies.extend(remedy.map(|remedy| (at, remedy)));
            if let Some(entry) = actions.get_mut(at) {
                entry.0 = Action::Blocked;
                entry.1.extend(reasons);
            }
        }
        for (at, script) in self.scripts.iter().enumerate() {
            let skipped = actions.get(at).is_some_and(|(action, _)| *action == Action::Skip);
            if skipped {
                let unmet = self.unmet(script, &self.state, at);
                let needs: Vec<String> = unmet.iter().map(|unmet| self.need(unmet, at, &actions)).collect();
                if let Some((_, reasons)) = actions.get_mut(at) {
                    reasons.extend(needs);
                }
            }
        }
        self.plan(actions, order, drops, remedies)
    }

    /// Why a file whose needs are met must not run.
    fn obstacle(
        &self,
        at: usize,
        status: Option<Status>,
        state: &State,
    ) -> Option<(String, Option<MigrationRemedy>)> {
        let script = self.scripts.get(at)?;
        if !script.obstacles.is_empty() {
            return Some(("it contains unsupported statements".to_owned(), None));
        }
        if self.options.run.contains(&script.name) {
            return None;
        }
        if status == Some(Status::Partly) {
            let found = self.statuses.get(at)?;
            let harmful: Vec<String> = script
                .statements
                .iter()
                .enumerate()
                .zip(&found.may_have_run)
                .filter(|((number, _), run)| **run && !repeatable(script, *number))
                .map(|((_, statement), _)| format!("line {} ({})", statement.line, statement.effect.title))
                .collect();
            if !harmful.is_empty() {
                let reason =
                    format!("partly applied, and running it again is not safe: {}", harmful.join(", "));
                return Some((reason, Some(MigrationRemedy::FixOrRun)));
            }
        }
        let mut after = state.clone();
        for (number, statement) in script.statements.iter().enumerate() {
            let path = statement.effect.path.as_deref();
            // A function may share its name with one that has other arguments.
            let twice = statement.effect.marks.iter().find_map(|mark| match mark {
                Mark::Present(Object::Function(_)) => None,
                Mark::Present(object) if after.holds(mark, path) => Some(after.resolve(object, path)),
                _ => None,
            });
            if let (Some(object), false) = (twice, repeatable(script, number)) {
                let reason = format!("line {} creates {object}, which will already exist", statement.line);
                return Some((reason, None));
            }
            after.run(&statement.effect);
        }
        let left = self.left(script, &after);
        (!left.is_empty()).then(|| {
            let reason = format!(
                "running it would not create {}: IF NOT EXISTS leaves existing objects unchanged",
                left.join(", ")
            );
            (reason, None)
        })
    }

    /// Describes a need, with the files that create the object.
    fn need(&self, unmet: &MissingObject, at: usize, actions: &[(Action, Vec<String>)]) -> String {
        let makers: Vec<String> = self
            .makers(&unmet.object, at)
            .iter()
            .filter_map(|maker| {
                let left_out = match actions.get(*maker)?.0 {
                    Action::Skip => " (left out)",
                    Action::Ask => " (the catalog does not show whether it ran)",
                    _ => "",
                };
                Some(format!("{}{left_out}", self.scripts.get(*maker)?.name))
            })
            .collect();
        let who = match makers.as_slice() {
            [] => "no file creates".to_owned(),
            [one] => format!("only {one} creates"),
            more => format!("{} create", more.join(" and ")),
        };
        format!("line {} needs {}, which {who}", unmet.line, unmet.object)
    }

    /// Why a file can never run.
    fn stuck(
        &self,
        at: usize,
        pending: &BTreeSet<usize>,
        state: &State,
        actions: &[(Action, Vec<String>)],
    ) -> (Vec<String>, Option<MigrationRemedy>) {
        let Some(script) = self.scripts.get(at) else { return (Vec::new(), None) };
        let unmet = self.unmet(script, state, at);
        let mut reasons: Vec<String> = unmet.iter().map(|unmet| self.need(unmet, at, actions)).collect();
        let without_maker = unmet.iter().any(|unmet| self.makers(&unmet.object, at).is_empty());
        let remedy = without_maker.then_some(MigrationRemedy::RunIfNeedsExist);
        // Follow the dependencies; returning to this file is a cycle.
        let waits_for = |at: usize| -> Vec<usize> {
            let Some(script) = self.scripts.get(at) else { return Vec::new() };
            let unmet = self.unmet(script, state, at);
            let makers = unmet.iter().flat_map(|unmet| self.makers(&unmet.object, at));
            makers.filter(|maker| pending.contains(maker)).collect()
        };
        let mut paths = vec![vec![at]];
        let mut seen = BTreeSet::from([at]);
        while let Some(path) = paths.pop() {
            for maker in path.last().map(|last| waits_for(*last)).unwrap_or_default() {
                if maker == at {
                    let names: Vec<&str> = path
                        .iter()
                        .chain([&at])
                        .filter_map(|at| self.scripts.get(*at).map(|script| script.name.as_str()))
                        .collect();
                    reasons.push(format!("a cycle: {}", names.join(" waits for ")));
                    return (reasons, remedy);
                }
                if seen.insert(maker) {
                    paths.push(path.iter().copied().chain([maker]).collect());
                }
            }
        }
        (reasons, remedy)
    }

    fn plan(
        self,
        actions: Vec<(Action, Vec<String>)>,
        order: Vec<String>,
        mut drops: BTreeMap<usize, Vec<String>>,
        mut remedies: BTreeMap<usize, MigrationRemedy>,
    ) -> Plan {
        let without_file = self.options.baseline.map_or_else(Vec::new, |baseline| {
            let declared = baseline.migrations.iter().map(|migration| migration.name.clone());
            declared.filter(|name| !self.scripts.iter().any(|script| script.name == *name)).collect()
        });
        let files = self.scripts.iter().zip(self.statuses).zip(actions).enumerate();
        let files = files
            .map(|(at, ((script, found), (action, mut reasons)))| {
                let mut remedy = remedies.remove(&at);
                if action == Action::Ask {
                    reasons.push("the catalog does not show whether it ran".to_owned());
                    remedy = Some(MigrationRemedy::RunOrSkip);
                }
                PlannedFile {
                    name: script.name.clone(),
                    file: script.file.clone(),
                    status: found.status,
                    action,
                    mode: script.mode(),
                    reasons,
                    remedy,
                    there: if found.status == Status::Partly { found.there } else { Vec::new() },
                    lacking: found.lacking,
                    unseen_lines: found.unseen,
                    drops: drops.remove(&at).unwrap_or_default(),
                    obstacles: script.obstacles.clone(),
                }
            })
            .collect();
        Plan { environment: self.options.environment.map(str::to_owned), files, order, without_file }
    }
}

/// Existing objects that the file drops.
fn dropped(script: &Script, state: &State) -> Vec<String> {
    let marks = script.statements.iter().flat_map(|statement| {
        statement.effect.marks.iter().map(|mark| (mark, statement.effect.path.as_deref()))
    });
    let gone = marks.filter_map(|(mark, path)| match mark {
        Mark::Absent(object @ (Object::Relation(_) | Object::Column(..) | Object::Schema(_))) => {
            let object = state.resolve(object, path);
            state.has(&object).then(|| object.to_string())
        }
        _ => None,
    });
    gone.collect()
}

/// True if running a statement again is harmless: by itself, or because an earlier one drops what it creates, unless
/// that is a table with rows.
fn repeatable(script: &Script, number: usize) -> bool {
    let Some(statement) = script.statements.get(number) else { return false };
    let effect = &statement.effect;
    if effect.repeatable {
        return true;
    }
    let before = script.statements.iter().take(number).filter(|before| before.effect.repeatable);
    let dropped: Vec<&Object> = before
        .flat_map(|before| &before.effect.marks)
        .filter_map(|mark| match mark {
            Mark::Absent(object) => Some(object),
            _ => None,
        })
        .collect();
    !effect.marks.is_empty()
        && effect.marks.iter().all(|mark| match mark {
            Mark::Present(Object::Relation(_)) => false,
            Mark::Present(object) => dropped.contains(&object),
            _ => false,
        })
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
