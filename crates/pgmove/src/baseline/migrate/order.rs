//! In which order migrations can run, found by running them on a [`State`] instead of a server.

use std::collections::{BTreeMap, BTreeSet};

use super::judge::{Judged, judge, words};
use super::plan::{Action, Plan, PlanOptions, PlannedFile, Status};
use super::state::State;
use crate::baseline::script::Script;
use crate::baseline::script::effect::{Effects, Mark, Object};
use crate::baseline::{Baseline, BaselineError};
use crate::catalog::Catalog;

/// Works out what is to be done to bring a database up to these files. `search_path` names the schemas in which
/// names without schema are looked for; objects are made in the first.
///
/// # Errors
/// [`BaselineError::UnknownEnvironment`] for an environment that the baseline does not list, and
/// [`BaselineError::UnknownScript`] for a migration to run or skip that no file holds.
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
    let mut work = Work { judged: judge(&scripts, &state), scripts: &scripts, state, made, options };
    let actions = work.first_actions();
    Ok(work.settle(actions))
}

/// Those that the baseline declares in its order, then the others by name, numbers by value.
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

/// A name such that `v3_10` comes after `v3_9`.
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
    judged: Vec<Judged>,
    state: State,
    /// Which files make an object.
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

/// Something that a file needs and that is not there.
struct Unmet {
    object: Object,
    line: usize,
}

impl Work<'_> {
    /// What each file's status alone says.
    fn first_actions(&mut self) -> Vec<(Action, Vec<String>)> {
        let mut actions = Vec::new();
        for (script, judged) in self.scripts.iter().zip(&self.judged) {
            let optional = self.options.environment.is_some_and(|environment| {
                let migration = self.options.baseline.and_then(|baseline| baseline.migration(&script.name));
                migration.is_some_and(|migration| migration.optional_in.contains(environment))
            });
            let forced = self.options.run.contains(&script.name);
            actions.push(match judged.status {
                _ if self.options.skip.contains(&script.name) => {
                    (Action::Skip, vec!["left out as asked for".to_owned()])
                }
                _ if forced => (Action::Run, vec!["run as asked for".to_owned()]),
                Status::Applied => (Action::Nothing, Vec::new()),
                _ if optional => {
                    let environment = self.options.environment.unwrap_or_default();
                    (Action::Skip, vec![format!("optional in {environment}")])
                }
                Status::Unknown => (Action::Ask, Vec::new()),
                Status::Missing | Status::Partly => (Action::Run, Vec::new()),
            });
        }
        // What needs something that is still to be made cannot have run.
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
                if let Some(judged) = self.judged.get_mut(at) {
                    judged.status = Status::Missing;
                }
            }
        }
        actions
    }

    /// The files other than this one that make an object.
    fn makers(&self, object: &Object, except: usize) -> Vec<usize> {
        let makers = self.made.get(object).into_iter().flatten().copied();
        makers.filter(|maker| *maker != except).collect()
    }

    /// What a file would miss, were it to run in this state.
    fn unmet(&self, script: &Script, state: &State, at: usize) -> Vec<Unmet> {
        let mut state = state.clone();
        let mut unmet: Vec<Unmet> = Vec::new();
        let mut anything = false;
        for statement in &script.statements {
            let effect = &statement.effect;
            if !state.passes_over(effect) {
                let wanted = effect.needs.iter().map(|object| (object, true));
                for (object, sure) in wanted.chain(effect.uses.iter().map(|object| (object, false))) {
                    let object = state.resolve(object, effect.path.as_deref());
                    if state.has(&object) || unmet.iter().any(|known| known.object == object) {
                        continue;
                    }
                    // A column of a table that is missing is no news beside the table.
                    let table = match &object {
                        Object::Column(table, _) => Some(Object::Relation(table.clone())),
                        _ => None,
                    };
                    if table.is_some_and(|table| !state.has(&table)) {
                        continue;
                    }
                    // What only seems to be used counts where a file makes it; and a DO block or a function that
                    // runs before may have made what no file makes by a statement.
                    if (sure && !anything) || !self.makers(&object, at).is_empty() {
                        unmet.push(Unmet { object, line: statement.line });
                    }
                }
            }
            anything |= effect.effects == Effects::Unknown;
            state.run(effect);
        }
        unmet
    }

    /// What of a file is not there in a state, in words.
    fn left(&self, script: &Script, state: &State) -> Vec<String> {
        let mut after = state.clone();
        for statement in &script.statements {
            after.run(&statement.effect);
        }
        let mut left = Vec::new();
        for statement in &script.statements {
            let path = statement.effect.path.as_deref();
            for mark in &statement.effect.marks {
                // What the file itself undoes again is not left to do.
                let passing = !after.holds(mark, path) && !statement.effect.if_not_exists;
                if !passing && !state.holds(mark, path) {
                    left.push(words(mark, &statement.effect, state));
                }
            }
        }
        left
    }

    fn settle(self, mut actions: Vec<(Action, Vec<String>)>) -> Plan {
        let mut state = self.state.clone();
        let mut order = Vec::new();
        let mut drops: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        let mut pending: BTreeSet<usize> =
            actions.iter().enumerate().filter(|(_, (a, _))| *a == Action::Run).map(|(at, _)| at).collect();
        let mut waited: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        while !pending.is_empty() {
            let mut next = None;
            for &at in &pending {
                let Some(script) = self.scripts.get(at) else { continue };
                let forced = self.options.run.contains(&script.name);
                let status = self.judged.get(at).map(|judged| judged.status);
                // Only marks tell that nothing is left: a file that also changes rows still has those to change.
                let covered = !forced
                    && self.left(script, &state).is_empty()
                    && script.statements.iter().all(|statement| {
                        !matches!(statement.effect.effects, Effects::Rows | Effects::Unknown)
                    });
                let mut unmet = self.unmet(script, &state, at);
                if forced {
                    // Whoever asks for it knows of what no file makes.
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
                reasons.push("after those before it, all that it makes is there".to_owned());
                continue;
            }
            if let Some(obstacle) = self.obstacle(at, status, &state) {
                *action = Action::Blocked;
                reasons.push(obstacle);
                continue;
            }
            if !needed.is_empty() {
                reasons.extend(needed);
                reasons.push("so it runs after that".to_owned());
            }
            drops.insert(at, dropped(script, &state));
            for statement in &script.statements {
                state.run(&statement.effect);
            }
            order.push(script.name.clone());
        }
        for &at in &pending {
            let reasons = self.stuck(at, &pending, &state, &actions);
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
        self.plan(actions, order, drops)
    }

    /// Why a file whose needs are met must not run all the same.
    fn obstacle(&self, at: usize, status: Option<Status>, state: &State) -> Option<String> {
        let script = self.scripts.get(at)?;
        if !script.obstacles.is_empty() {
            return Some("this tool cannot run it".to_owned());
        }
        if self.options.run.contains(&script.name) {
            return None;
        }
        if status == Some(Status::Partly) {
            let judged = self.judged.get(at)?;
            let harmful: Vec<String> = script
                .statements
                .iter()
                .enumerate()
                .zip(&judged.may_have_run)
                .filter(|((number, _), run)| **run && !repeatable(script, *number))
                .map(|((_, statement), _)| format!("line {} ({})", statement.line, statement.effect.title))
                .collect();
            if !harmful.is_empty() {
                return Some(format!(
                    "partly applied, and running it again is not safe: {}; mend it by hand, or say --run {}",
                    harmful.join(", "),
                    script.name
                ));
            }
        }
        let mut after = state.clone();
        for (number, statement) in script.statements.iter().enumerate() {
            let path = statement.effect.path.as_deref();
            // A function may have its name from another with other arguments.
            let twice = statement.effect.marks.iter().find_map(|mark| match mark {
                Mark::Present(Object::Function(_)) => None,
                Mark::Present(object) if after.holds(mark, path) => Some(after.resolve(object, path)),
                _ => None,
            });
            if let (Some(object), false) = (twice, repeatable(script, number)) {
                return Some(format!("line {} makes {object}, which will be there", statement.line));
            }
            after.run(&statement.effect);
        }
        let left = self.left(script, &after);
        (!left.is_empty()).then(|| {
            format!(
                "running it would not bring {}: what IF NOT EXISTS finds is left as it is",
                left.join(", ")
            )
        })
    }

    /// A need in words, with who makes it.
    fn need(&self, unmet: &Unmet, at: usize, actions: &[(Action, Vec<String>)]) -> String {
        let makers: Vec<String> = self
            .makers(&unmet.object, at)
            .iter()
            .filter_map(|maker| {
                let left_out = match actions.get(*maker)?.0 {
                    Action::Skip => " (left out)",
                    Action::Ask => " (of which the catalog does not show whether it ran)",
                    _ => "",
                };
                Some(format!("{}{left_out}", self.scripts.get(*maker)?.name))
            })
            .collect();
        let who = match makers.as_slice() {
            [] => "no file makes".to_owned(),
            [one] => format!("only {one} makes"),
            more => format!("{} make", more.join(" and ")),
        };
        format!("line {} needs {}, which {who}", unmet.line, unmet.object)
    }

    /// Why a file is never reached.
    fn stuck(
        &self,
        at: usize,
        pending: &BTreeSet<usize>,
        state: &State,
        actions: &[(Action, Vec<String>)],
    ) -> Vec<String> {
        let Some(script) = self.scripts.get(at) else { return Vec::new() };
        let unmet = self.unmet(script, state, at);
        let mut reasons: Vec<String> = unmet.iter().map(|unmet| self.need(unmet, at, actions)).collect();
        if unmet.iter().any(|unmet| self.makers(&unmet.object, at).is_empty()) {
            reasons.push(format!("if it is made by other means, say --run {}", script.name));
        }
        // Follow who waits for whom; coming back here is a cycle.
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
                    return reasons;
                }
                if seen.insert(maker) {
                    paths.push(path.iter().copied().chain([maker]).collect());
                }
            }
        }
        reasons
    }

    fn plan(
        self,
        actions: Vec<(Action, Vec<String>)>,
        order: Vec<String>,
        mut drops: BTreeMap<usize, Vec<String>>,
    ) -> Plan {
        let without_file = self.options.baseline.map_or_else(Vec::new, |baseline| {
            let declared = baseline.migrations.iter().map(|migration| migration.name.clone());
            declared.filter(|name| !self.scripts.iter().any(|script| script.name == *name)).collect()
        });
        let files = self.scripts.iter().zip(self.judged).zip(actions).enumerate();
        let files = files
            .map(|(at, ((script, judged), (action, mut reasons)))| {
                if action == Action::Ask {
                    reasons.push(format!(
                        "the catalog does not show whether it ran: say --run {0} or --skip {0}",
                        script.name
                    ));
                }
                PlannedFile {
                    name: script.name.clone(),
                    file: script.file.clone(),
                    status: judged.status,
                    action,
                    mode: script.mode(),
                    reasons,
                    there: if judged.status == Status::Partly { judged.there } else { Vec::new() },
                    lacking: judged.lacking,
                    unseen_lines: judged.unseen,
                    drops: drops.remove(&at).unwrap_or_default(),
                    obstacles: script.obstacles.clone(),
                }
            })
            .collect();
        Plan { environment: self.options.environment.map(str::to_owned), files, order, without_file }
    }
}

/// What is there and goes when the file runs.
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

/// True when running a statement once more does no harm: by itself, or because one before it drops what it makes,
/// which of a table would be its rows.
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
