//! Infers from a catalog which migrations have been applied.

use std::collections::BTreeMap;

use super::plan::Status;
use super::state::{State, containers};
use crate::baseline::script::Script;
use crate::baseline::script::effect::{Effect, Effects, Mark, Object};

/// What the catalog shows about a file.
#[derive(Debug, Clone)]
pub(super) struct FileStatus {
    pub(super) status: Status,
    /// Descriptions of what exists, and of what is missing.
    pub(super) there: Vec<String>,
    pub(super) lacking: Vec<String>,
    /// Lines of statements that leave no trace in the catalog.
    pub(super) unseen: Vec<usize>,
    /// For each statement, whether part of it may have run.
    pub(super) may_have_run: Vec<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StatementState {
    /// The result of the statement is present.
    Done,
    /// It is present, but may have been so before.
    Weak,
    /// It is absent.
    Undone,
    /// It cannot be determined.
    Unclear,
    /// A later statement of the file undoes it.
    Passing,
}

/// Infers the status of files in their declared order. If a later file undoes an earlier one, only the later one's
/// status tells about the earlier: so the last file comes first.
pub(super) fn file_statuses(scripts: &[Script], state: &State) -> Vec<FileStatus> {
    let changes = Changes::of(scripts, state);
    let mut statuses: Vec<FileStatus> = Vec::new();
    for (at, script) in scripts.iter().enumerate().rev() {
        // `statuses` holds the later files, in reverse order.
        let status = |file: Option<usize>| {
            statuses.get(scripts.len() - 1 - file?).map(|found: &FileStatus| found.status)
        };
        let mut sum = Sum::default();
        for (number, statement) in script.statements.iter().enumerate() {
            let effect = &statement.effect;
            let path = effect.path.as_deref();
            let mut seen = Vec::new();
            for mark in &effect.marks {
                let holds = state.holds(mark, path);
                let by_later = |status: Option<Status>| match status {
                    None | Some(Status::Missing) => StatementState::Undone,
                    Some(Status::Applied) => StatementState::Done,
                    Some(_) => StatementState::Unclear,
                };
                let verdict = match mark {
                    Mark::Present(object) | Mark::Replaced(object) => {
                        let object = state.resolve(object, path);
                        if changes.taken.within(&object, at, number + 1) {
                            StatementState::Passing
                        } else if !holds {
                            by_later(status(changes.taken.after(&object, at)))
                        } else if matches!(mark, Mark::Replaced(_)) && changes.made.elsewhere(&object, at) {
                            StatementState::Unclear
                        } else {
                            StatementState::Done
                        }
                    }
                    Mark::Absent(object) => {
                        let object = state.resolve(object, path);
                        if changes.made.within(&object, at, number) {
                            StatementState::Passing
                        } else if !holds {
                            by_later(status(changes.made.after(&object, at)))
                        } else if changes.made.before(&object, at) {
                            StatementState::Unclear
                        } else {
                            StatementState::Weak
                        }
                    }
                    Mark::Default(_, _, true) if holds => StatementState::Unclear,
                    Mark::Type(table, name, _)
                    | Mark::NotNull(table, name, _)
                    | Mark::Default(table, name, _) => {
                        let column = state.resolve(&Object::Column(table.clone(), name.clone()), path);
                        let later = [changes.taken.after(&column, at), changes.changed.after(&column, at)];
                        if holds {
                            StatementState::Done
                        } else {
                            by_later(status(later.into_iter().flatten().min()))
                        }
                    }
                    Mark::Label(..) => {
                        if holds {
                            StatementState::Done
                        } else {
                            StatementState::Undone
                        }
                    }
                };
                seen.push((verdict, mark));
            }
            sum.statement(effect, &seen, statement.line, state);
        }
        statuses.push(sum.into_status());
    }
    statuses.reverse();
    statuses
}

/// Which statements change an object: file and statement, by the object's full name, in order.
#[derive(Default)]
struct ChangesByObject(BTreeMap<Object, Vec<(usize, usize)>>);

impl ChangesByObject {
    fn push(&mut self, object: Object, file: usize, statement: usize) {
        self.0.entry(object).or_default().push((file, statement));
    }

    /// The statements that change the object itself, or what contains it.
    fn of(&self, object: &Object) -> impl Iterator<Item = (usize, usize)> {
        let whole = containers(object).into_iter().filter_map(|whole| self.0.get(&whole));
        self.0.get(object).into_iter().chain(whole).flatten().copied()
    }

    /// True if a statement of this file changes it, from that number on.
    fn within(&self, object: &Object, file: usize, from: usize) -> bool {
        self.of(object).any(|(doer, statement)| doer == file && statement >= from)
    }

    /// The first later file that changes it.
    fn after(&self, object: &Object, file: usize) -> Option<usize> {
        self.of(object).map(|(doer, _)| doer).filter(|doer| *doer > file).min()
    }

    /// True if an earlier file changes the object itself.
    fn before(&self, object: &Object, file: usize) -> bool {
        self.0.get(object).is_some_and(|doers| doers.iter().any(|(doer, _)| *doer < file))
    }

    /// True if any other file changes the object itself.
    fn elsewhere(&self, object: &Object, file: usize) -> bool {
        self.0.get(object).is_some_and(|doers| doers.iter().any(|(doer, _)| *doer != file))
    }
}

/// What files change.
#[derive(Default)]
struct Changes {
    made: ChangesByObject,
    taken: ChangesByObject,
    changed: ChangesByObject,
}

impl Changes {
    fn of(scripts: &[Script], state: &State) -> Changes {
        let mut changes = Changes::default();
        for (file, script) in scripts.iter().enumerate() {
            for (number, statement) in script.statements.iter().enumerate() {
                let path = statement.effect.path.as_deref();
                for mark in &statement.effect.marks {
                    let (doers, object) = match mark {
                        Mark::Present(object) | Mark::Replaced(object) => (&mut changes.made, object.clone()),
                        Mark::Absent(object) => (&mut changes.taken, object.clone()),
                        Mark::Type(table, name, _)
                        | Mark::NotNull(table, name, _)
                        | Mark::Default(table, name, _) => {
                            (&mut changes.changed, Object::Column(table.clone(), name.clone()))
                        }
                        Mark::Label(..) => continue,
                    };
                    doers.push(state.resolve(&object, path), file, number);
                }
            }
        }
        changes
    }
}

/// The findings about a file so far.
#[derive(Default)]
struct Sum {
    there: Vec<String>,
    lacking: Vec<String>,
    weak: usize,
    unclear: usize,
    unseen: Vec<usize>,
    may_have_run: Vec<bool>,
    lasting: bool,
}

impl Sum {
    fn statement(&mut self, effect: &Effect, seen: &[(StatementState, &Mark)], line: usize, state: &State) {
        let (mut some, mut unclear) = (false, false);
        for (verdict, mark) in seen {
            // The parts of a completely new table are not reported separately.
            let with_its_table = seen.iter().any(|(other, whole)| match (whole, mark) {
                (Mark::Present(table @ Object::Relation(name)), Mark::Present(part)) => {
                    other == verdict && part != table && part.written() == Some(name)
                }
                _ => false,
            });
            match verdict {
                StatementState::Done => {
                    some = true;
                    if !with_its_table {
                        self.there.push(describe(mark, effect, state));
                    }
                }
                StatementState::Undone if with_its_table => {}
                StatementState::Undone => self.lacking.push(describe(mark, effect, state)),
                StatementState::Weak => self.weak += 1,
                StatementState::Unclear => (self.unclear, unclear) = (self.unclear + 1, true),
                StatementState::Passing => {}
            }
        }
        let silent = matches!(effect.effects, Effects::Rows | Effects::Unknown);
        if silent || (unclear && !some) {
            self.unseen.push(line);
        }
        self.lasting |= effect.effects != Effects::Session;
        // A statement with only indirect evidence, or none, may have run.
        self.may_have_run.push(some || unclear || silent || effect.effects == Effects::Remark);
    }

    fn into_status(self) -> FileStatus {
        let status = match (self.there.is_empty(), self.lacking.is_empty()) {
            (false, false) => Status::Partly,
            (true, false) => Status::Missing,
            (false, true) => Status::Applied,
            (true, true) if self.weak > 0 && self.unclear == 0 => Status::Applied,
            (true, true) if !self.lasting => Status::Applied,
            (true, true) => Status::Unknown,
        };
        FileStatus {
            status,
            there: self.there,
            lacking: self.lacking,
            unseen: self.unseen,
            may_have_run: self.may_have_run,
        }
    }
}

/// Describes a mark: `column public.t.c`, `public.t.c not null`.
pub(super) fn describe(mark: &Mark, effect: &Effect, state: &State) -> String {
    let full = |object: &Object| state.resolve(object, effect.path.as_deref()).to_string();
    let column = |table: &crate::baseline::script::names::Written, name: &str| {
        full(&Object::Column(table.clone(), name.to_owned()))
    };
    match mark {
        Mark::Present(object) | Mark::Replaced(object) => full(object),
        Mark::Absent(object) => format!("no {}", full(object)),
        Mark::Type(table, name, kind) => format!("{} as {kind}", column(table, name)),
        Mark::NotNull(table, name, yes) => {
            format!("{} {}", column(table, name), if *yes { "not null" } else { "nullable" })
        }
        Mark::Default(table, name, yes) => {
            format!("{} {} default", column(table, name), if *yes { "with a" } else { "without" })
        }
        Mark::Label(kind, label) => format!("label {label} of {}", full(&Object::Type(kind.clone()))),
    }
}
