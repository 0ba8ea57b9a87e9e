//! Which migrations have been applied, as far as a catalog shows.

use std::collections::BTreeMap;

use super::plan::Status;
use super::state::{State, wholes};
use crate::baseline::script::Script;
use crate::baseline::script::effect::{Effect, Effects, Mark, Object};

/// What the catalog says of one file.
#[derive(Debug, Clone)]
pub(super) struct Judged {
    pub(super) status: Status,
    /// What of it is there, and what is not, in words.
    pub(super) there: Vec<String>,
    pub(super) lacking: Vec<String>,
    /// Lines of statements of which it says nothing.
    pub(super) unseen: Vec<usize>,
    /// For each statement, whether something of it may have run.
    pub(super) may_have_run: Vec<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// It is as the statement leaves it.
    Done,
    /// It is so, and may always have been.
    Weak,
    /// It is not so.
    Undone,
    /// It cannot be told.
    Unclear,
    /// A later statement of the file undoes it.
    Passing,
}

/// Judges files in their declared order. What a later file takes away again tells of an earlier one only through the
/// later one: so the last is judged first.
pub(super) fn judge(scripts: &[Script], state: &State) -> Vec<Judged> {
    let deeds = Deeds::of(scripts, state);
    let mut judged: Vec<Judged> = Vec::new();
    for (at, script) in scripts.iter().enumerate().rev() {
        // `judged` holds the later ones, the last first.
        let status =
            |file: Option<usize>| judged.get(scripts.len() - 1 - file?).map(|judged: &Judged| judged.status);
        let mut sum = Sum::default();
        for (number, statement) in script.statements.iter().enumerate() {
            let effect = &statement.effect;
            let path = effect.path.as_deref();
            let mut seen = Vec::new();
            for mark in &effect.marks {
                let holds = state.holds(mark, path);
                let by_later = |status: Option<Status>| match status {
                    None | Some(Status::Missing) => Seen::Undone,
                    Some(Status::Applied) => Seen::Done,
                    Some(_) => Seen::Unclear,
                };
                let verdict = match mark {
                    Mark::Present(object) | Mark::Replaced(object) => {
                        let object = state.resolve(object, path);
                        if deeds.taken.within(&object, at, number + 1) {
                            Seen::Passing
                        } else if !holds {
                            by_later(status(deeds.taken.after(&object, at)))
                        } else if matches!(mark, Mark::Replaced(_)) && deeds.made.elsewhere(&object, at) {
                            Seen::Unclear
                        } else {
                            Seen::Done
                        }
                    }
                    Mark::Absent(object) => {
                        let object = state.resolve(object, path);
                        if deeds.made.within(&object, at, number) {
                            Seen::Passing
                        } else if !holds {
                            by_later(status(deeds.made.after(&object, at)))
                        } else if deeds.made.before(&object, at) {
                            Seen::Unclear
                        } else {
                            Seen::Weak
                        }
                    }
                    Mark::Default(_, _, true) if holds => Seen::Unclear,
                    Mark::Type(table, name, _)
                    | Mark::NotNull(table, name, _)
                    | Mark::Default(table, name, _) => {
                        let column = state.resolve(&Object::Column(table.clone(), name.clone()), path);
                        let later = [deeds.taken.after(&column, at), deeds.changed.after(&column, at)];
                        if holds { Seen::Done } else { by_later(status(later.into_iter().flatten().min())) }
                    }
                    Mark::Label(..) => {
                        if holds {
                            Seen::Done
                        } else {
                            Seen::Undone
                        }
                    }
                };
                seen.push((verdict, mark));
            }
            sum.statement(effect, &seen, statement.line, state);
        }
        judged.push(sum.judged());
    }
    judged.reverse();
    judged
}

/// Who does something to an object: file and statement, by the object's full name, in order.
#[derive(Default)]
struct Doers(BTreeMap<Object, Vec<(usize, usize)>>);

impl Doers {
    fn push(&mut self, object: Object, file: usize, statement: usize) {
        self.0.entry(object).or_default().push((file, statement));
    }

    /// What is done to the object itself, or to what it is a part of.
    fn of(&self, object: &Object) -> impl Iterator<Item = (usize, usize)> {
        let whole = wholes(object).into_iter().filter_map(|whole| self.0.get(&whole));
        self.0.get(object).into_iter().chain(whole).flatten().copied()
    }

    /// True when a statement of this file does it, from that number on.
    fn within(&self, object: &Object, file: usize, from: usize) -> bool {
        self.of(object).any(|(doer, statement)| doer == file && statement >= from)
    }

    /// The first later file that does it.
    fn after(&self, object: &Object, file: usize) -> Option<usize> {
        self.of(object).map(|(doer, _)| doer).filter(|doer| *doer > file).min()
    }

    /// True when an earlier file does it, to the object itself.
    fn before(&self, object: &Object, file: usize) -> bool {
        self.0.get(object).is_some_and(|doers| doers.iter().any(|(doer, _)| *doer < file))
    }

    /// True when any other file does it, to the object itself.
    fn elsewhere(&self, object: &Object, file: usize) -> bool {
        self.0.get(object).is_some_and(|doers| doers.iter().any(|(doer, _)| *doer != file))
    }
}

/// What files do to objects.
#[derive(Default)]
struct Deeds {
    made: Doers,
    taken: Doers,
    changed: Doers,
}

impl Deeds {
    fn of(scripts: &[Script], state: &State) -> Deeds {
        let mut deeds = Deeds::default();
        for (file, script) in scripts.iter().enumerate() {
            for (number, statement) in script.statements.iter().enumerate() {
                let path = statement.effect.path.as_deref();
                for mark in &statement.effect.marks {
                    let (doers, object) = match mark {
                        Mark::Present(object) | Mark::Replaced(object) => (&mut deeds.made, object.clone()),
                        Mark::Absent(object) => (&mut deeds.taken, object.clone()),
                        Mark::Type(table, name, _)
                        | Mark::NotNull(table, name, _)
                        | Mark::Default(table, name, _) => {
                            (&mut deeds.changed, Object::Column(table.clone(), name.clone()))
                        }
                        Mark::Label(..) => continue,
                    };
                    doers.push(state.resolve(&object, path), file, number);
                }
            }
        }
        deeds
    }
}

/// What has been seen of a file so far.
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
    fn statement(&mut self, effect: &Effect, seen: &[(Seen, &Mark)], line: usize, state: &State) {
        let (mut some, mut unclear) = (false, false);
        for (verdict, mark) in seen {
            // Of a table that is made whole, its parts are not told one by one.
            let with_its_table = seen.iter().any(|(other, whole)| match (whole, mark) {
                (Mark::Present(table @ Object::Relation(name)), Mark::Present(part)) => {
                    other == verdict && part != table && part.written() == Some(name)
                }
                _ => false,
            });
            match verdict {
                Seen::Done => {
                    some = true;
                    if !with_its_table {
                        self.there.push(words(mark, effect, state));
                    }
                }
                Seen::Undone if with_its_table => {}
                Seen::Undone => self.lacking.push(words(mark, effect, state)),
                Seen::Weak => self.weak += 1,
                Seen::Unclear => (self.unclear, unclear) = (self.unclear + 1, true),
                Seen::Passing => {}
            }
        }
        let silent = matches!(effect.effects, Effects::Rows | Effects::Unknown);
        if silent || (unclear && !some) {
            self.unseen.push(line);
        }
        self.lasting |= effect.effects != Effects::Session;
        // A statement of which only something else is known, or nothing, may have run.
        self.may_have_run.push(some || unclear || silent || effect.effects == Effects::Remark);
    }

    fn judged(self) -> Judged {
        let status = match (self.there.is_empty(), self.lacking.is_empty()) {
            (false, false) => Status::Partly,
            (true, false) => Status::Missing,
            (false, true) => Status::Applied,
            (true, true) if self.weak > 0 && self.unclear == 0 => Status::Applied,
            (true, true) if !self.lasting => Status::Applied,
            (true, true) => Status::Unknown,
        };
        Judged {
            status,
            there: self.there,
            lacking: self.lacking,
            unseen: self.unseen,
            may_have_run: self.may_have_run,
        }
    }
}

/// A mark as a sentence's object: `column public.t.c`, `public.t.c not null`.
pub(super) fn words(mark: &Mark, effect: &Effect, state: &State) -> String {
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
