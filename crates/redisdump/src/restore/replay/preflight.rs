//! Preflight scan of an AOF before anything is written: its structure, and what cannot be translated for the target.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::super::choice::{KeyChoice, Matched};
use super::table::Table;
use super::translate::Translator;
use super::{NAMED, shown_command};
use crate::Error;
use crate::aof::{self, AofSummary, Command, Files, Keep, ReadOptions};
use crate::conflict::{Conflict, Remedy};
use crate::convert::commands::{PlaceholderExpiries, Target};
use crate::rdb::{self, Elements};

/// The longest command that is held in memory; servers accept no longer arguments by default.
pub(super) const LONGEST: usize = 1 << 30;

/// The result of the scan.
#[derive(Debug, Default)]
pub(super) struct Preflight {
    pub(super) summary: AofSummary,
    /// The first commands that cannot be translated, and how many there are.
    pub(super) refused: Vec<String>,
    pub(super) refusals: u64,
    pub(super) databases: BTreeMap<u64, u64>,
    /// Which parts of the choice have matched keys.
    pub(super) matched: Matched,
}

/// What the commands are checked against.
pub(super) struct ReplayContext {
    pub(super) table: Table,
    pub(super) choice: KeyChoice,
    pub(super) times: PlaceholderExpiries,
    pub(super) target: Target,
    pub(super) try_newer: bool,
}

impl ReplayContext {
    pub(super) fn translator(&self) -> Translator<'_> {
        Translator::new(&self.table, &self.choice, self.times, self.target)
    }
}

struct PreflightVisitor<'a> {
    translator: Translator<'a>,
    files: &'a Files,
    part: &'a Cell<usize>,
    out: Vec<u8>,
    refused: Vec<String>,
    refusals: u64,
}

impl Elements for PreflightVisitor<'_> {}

impl rdb::Visitor for PreflightVisitor<'_> {
    fn key(&mut self, key: &rdb::Key<'_>) {
        let Translator { choice, matched, databases, .. } = &mut self.translator;
        databases.insert(key.db, choice.database(key.db));
        matched.note(choice, key.db, key.name);
    }
}

impl aof::Visitor for PreflightVisitor<'_> {
    fn annotation(&mut self, _offset: u64, text: &[u8]) {
        self.translator.annotate(text);
    }

    fn command(&mut self, command: &Command<'_>) {
        let words: Vec<&[u8]> = command.held().collect();
        self.out.clear();
        self.out.shrink_to(1 << 20);
        if let Err(why) = self.translator.translate(&words, &mut self.out) {
            self.refusals += 1;
            if self.refused.len() < NAMED {
                let path = self.files.parts.get(self.part.get()).map(|part| part.path.display().to_string());
                let (path, what) = (path.unwrap_or_default(), shown_command(&words));
                self.refused.push(format!("{path}, byte {}: {what}: {why}", command.offset));
            }
        }
    }
}

/// Reads the whole file, blocking on disk I/O.
pub(super) fn preflight_scan(
    files: &Files,
    until: Option<i64>,
    against: &ReplayContext,
) -> Result<Preflight, Error> {
    let part = Cell::new(0);
    let mut visitor = PreflightVisitor {
        translator: against.translator(),
        files,
        part: &part,
        out: Vec::new(),
        refused: Vec::new(),
        refusals: 0,
    };
    let options = ReadOptions { keep: Keep::All { bytes: LONGEST }, until, try_newer: against.try_newer };
    let mut on_part = |now: &aof::Part, _| {
        part.set(files.parts.iter().position(|one| one.path == now.path).unwrap_or_default());
    };
    let summary = aof::read(files, options, &mut visitor, &mut on_part)?;
    let PreflightVisitor { translator, refused, refusals, .. } = visitor;
    let Translator { databases, mut matched, choice, .. } = translator;
    databases.keys().for_each(|db| matched.note_database(choice, *db));
    Ok(Preflight { summary, refused, refusals, databases, matched })
}

impl Preflight {
    /// Why it cannot be replayed, regardless of what may be omitted.
    pub(super) fn conflicts(&self) -> Vec<Conflict> {
        let mut from = BTreeMap::<u64, u64>::new();
        let mut conflicts = Vec::new();
        for (db, to) in &self.databases {
            if let Some(other) = from.insert(*to, *db) {
                let reason = format!(
                    "databases {other} and {db} of the AOF would both go into database {to}, where the commands for one \
                     would change the keys of the other: choose different databases"
                );
                conflicts.push(Conflict::with_remedy(reason, Remedy::ChangeDatabase { from: *db }));
            }
        }
        conflicts
    }
}
