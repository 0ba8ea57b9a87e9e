//! Which migrations have been applied, as far as a catalog shows.

use super::plan::Status;
use super::state::{State, goes_with};
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
    let deeds: Vec<Vec<Deed>> = scripts.iter().map(|script| deeds(script, state)).collect();
    let mut judged: Vec<Judged> = Vec::new();
    for (at, script) in scripts.iter().enumerate().rev() {
        // `judged` holds the later ones, the last first.
        let later = |found: &dyn Fn(&Deed) -> bool| {
            let files = deeds.iter().enumerate().skip(at + 1);
            let file = files.filter(|(_, deeds)| deeds.iter().any(found)).map(|(file, _)| file).next()?;
            judged.get(scripts.len() - 1 - file).map(|judged| judged.status)
        };
        let others_make = |object: &Object| {
            let files = deeds.iter().enumerate().filter(|(file, _)| *file != at);
            files.flat_map(|(_, deeds)| deeds).any(|deed| deed.makes && deed.object == *object)
        };
        let earlier_make = |object: &Object| {
            deeds.iter().take(at).flatten().any(|deed| deed.makes && goes_with(&deed.object, object))
        };
        let own = deeds.get(at).map(Vec::as_slice).unwrap_or_default();
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
                        let takes = |deed: &Deed| !deed.makes && goes_with(&object, &deed.object);
                        if own.iter().any(|deed| deed.statement > number && takes(deed)) {
                            Seen::Passing
                        } else if !holds {
                            by_later(later(&takes))
                        } else if matches!(mark, Mark::Replaced(_)) && others_make(&object) {
                            Seen::Unclear
                        } else {
                            Seen::Done
                        }
                    }
                    Mark::Absent(object) => {
                        let object = state.resolve(object, path);
                        let makes = |deed: &Deed| deed.makes && deed.object == object;
                        if own.iter().any(|deed| deed.statement >= number && makes(deed)) {
                            Seen::Passing
                        } else if !holds {
                            by_later(later(&makes))
                        } else if earlier_make(&object) {
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
                        let changes = |deed: &Deed| {
                            (!deed.makes && goes_with(&column, &deed.object))
                                || (deed.changes && deed.object == column)
                        };
                        if holds { Seen::Done } else { by_later(later(&changes)) }
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

/// What a statement does to one object, by its full name.
struct Deed {
    statement: usize,
    makes: bool,
    /// It alters a column.
    changes: bool,
    object: Object,
}

fn deeds(script: &Script, state: &State) -> Vec<Deed> {
    let mut deeds = Vec::new();
    for (statement, written) in script.statements.iter().enumerate() {
        for mark in &written.effect.marks {
            let (makes, changes, object) = match mark {
                Mark::Present(object) | Mark::Replaced(object) => (true, false, object.clone()),
                Mark::Absent(object) => (false, false, object.clone()),
                Mark::Type(table, name, _)
                | Mark::NotNull(table, name, _)
                | Mark::Default(table, name, _) => (true, true, Object::Column(table.clone(), name.clone())),
                Mark::Label(..) => continue,
            };
            let object = state.resolve(&object, written.effect.path.as_deref());
            deeds.push(Deed { statement, makes: makes && !changes, changes, object });
        }
    }
    deeds
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
        for (seen, mark) in seen {
            match seen {
                Seen::Done => {
                    self.there.push(words(mark, effect, state));
                    some = true;
                }
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
