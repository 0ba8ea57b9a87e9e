//! Sends the commands of one file after another while the replies to earlier ones are read.

use std::path::Path;
use std::time::Instant;

use futures::StreamExt as _;
use tokio::sync::mpsc;

use super::error_reply::is_of_target;
use super::preflight::{LONGEST, ReplayContext};
use super::report::Finished;
use super::translate::Translator;
use super::{NAMED, part_of, shown_command};
use crate::Error;
use crate::aof::{self, Command, FileSummary, Keep, Reader};
use crate::client::connection::Connection;
use crate::client::wire::{self, Failed};
use crate::rdb::{self, Elements};
use crate::restore::WINDOW;
use crate::restore::feed::pause;
use crate::restore::settings::{BATCH, ReplayOptions, RestoreOptions};

const OPERATION: &str = "replaying commands; their effects remain there: clear it before retrying";
/// Maximum number of commands of a transaction that are kept by name until EXEC answers.
const MAX_NAMED_COMMANDS: usize = 1000;

/// A transaction that waits for its EXEC: its first commands including MULTI, and how many count.
#[derive(Debug, Default)]
struct Transaction {
    first: Vec<Sent>,
    counted: u64,
}

/// What a reply is for.
#[derive(Debug)]
struct Sent {
    /// Offset of the command in its file.
    offset: u64,
    shown: Box<str>,
    kind: Kind,
    /// This command completes a command of the file.
    counts: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Multi,
    Exec,
    Discard,
}

/// A replay in progress.
pub(super) struct Pipeline<'a> {
    translator: Translator<'a>,
    settings: &'a RestoreOptions,
    connection: Connection,
    target: String,
    checked: Checked,
    /// Number of commands that were not sent.
    left_out: Vec<String>,
    lefts: u64,
    began: Instant,
    sent: u64,
}

/// What the replies said.
#[derive(Debug, Default)]
struct Checked {
    commands: u64,
    refused: Vec<String>,
    refusals: u64,
    /// Answered with an error that the server which wrote the file ignored as well.
    errors: u64,
    error_replies: Vec<String>,
}

/// Receives the file's commands and prepares those for the target.
struct ReplayVisitor<'t, 'a> {
    translator: &'t mut Translator<'a>,
    path: &'t Path,
    out: Vec<u8>,
    queue: Vec<Sent>,
    in_multi: bool,
    left_out: &'t mut Vec<String>,
    lefts: &'t mut u64,
}

impl Elements for ReplayVisitor<'_, '_> {}
impl rdb::Visitor for ReplayVisitor<'_, '_> {}

impl aof::Visitor for ReplayVisitor<'_, '_> {
    fn annotation(&mut self, _offset: u64, text: &[u8]) {
        self.translator.annotate(text);
    }

    fn command(&mut self, command: &Command<'_>) {
        let words: Vec<&[u8]> = command.held().collect();
        let count = match self.translator.translate(&words, &mut self.out) {
            Ok(count) => count,
            Err(why) => {
                *self.lefts += 1;
                if self.left_out.len() < NAMED {
                    let (path, what) = (self.path.display(), shown_command(&words));
                    self.left_out.push(format!("{path}, byte {}: {what}: {why}", command.offset));
                }
                return;
            }
        };
        let kind = match () {
            () if command.is("MULTI") => Kind::Multi,
            () if command.is("EXEC") => Kind::Exec,
            () if command.is("DISCARD") => Kind::Discard,
            () => Kind::Plain,
        };
        self.in_multi = kind == Kind::Multi || (self.in_multi && kind == Kind::Plain);
        for at in 0..count {
            let shown = shown_command(&words).into_boxed_str();
            let kind = match at {
                _ if !self.translator.wrapped => kind,
                0 => Kind::Multi,
                1 => Kind::Plain,
                _ => Kind::Exec,
            };
            self.queue.push(Sent { offset: command.offset, shown, kind, counts: at + 1 == count });
        }
    }
}

impl<'a> Pipeline<'a> {
    pub(super) fn new(
        against: &'a ReplayContext,
        settings: &'a RestoreOptions,
        connection: Connection,
        target: String,
    ) -> Pipeline<'a> {
        let mut translator = against.translator();
        translator.strict = settings.replay.strict;
        Pipeline {
            translator,
            settings,
            connection,
            target,
            checked: Checked::default(),
            left_out: Vec::new(),
            lefts: 0,
            began: Instant::now(),
            sent: 0,
        }
    }

    /// The base of relative expiries of the next file where it has no date, in milliseconds since the epoch.
    pub(super) fn count_expiries_from(&mut self, moment: i64) {
        self.translator.expiry_base = moment;
    }

    /// Replays the commands of a file and waits for their replies.
    pub(super) async fn replay(
        &mut self,
        path: &Path,
        summary: &FileSummary,
        until: Option<i64>,
        on_bytes: &(dyn Fn(u64) + Sync),
    ) -> Result<(), Error> {
        if summary.commands == 0 {
            return Ok(());
        }
        let Pipeline { translator, settings, connection, checked, left_out, lefts, sent: total, .. } = self;
        let began = self.began;
        let (sent, mut awaited) = mpsc::channel::<Sent>(WINDOW);
        let Connection { reader: replies, writer } = connection;
        let begin = summary.preamble_bytes.unwrap_or(0);
        let mut visitor = ReplayVisitor {
            translator,
            path,
            out: Vec::new(),
            queue: Vec::new(),
            in_multi: false,
            left_out,
            lefts,
        };
        visitor.begin();
        let mut file = Reader::new(Keep::All { bytes: LONGEST }).until(until);
        if begin > 0 {
            file = file.behind_preamble(begin);
        }
        let feed = async {
            let mut stream = std::pin::pin!(part_of(path, begin, None));
            let mut flush = async |visitor: &mut ReplayVisitor<'_, '_>| -> Result<(), Error> {
                // Both at once: more may be queued than the other side accepts before it sees replies.
                let queue = std::mem::take(&mut visitor.queue);
                *total += queue.len() as u64;
                let note = async {
                    for what in queue {
                        // The other side ends early only with an error of its own, which is the one that is reported.
                        if sent.send(what).await.is_err() {
                            break;
                        }
                    }
                };
                let ((), result) = futures::join!(note, writer.send(&visitor.out, OPERATION));
                visitor.out.clear();
                visitor.out.shrink_to(4 << 20);
                result?;
                if let Some(rate) = settings.rate.filter(|rate| *rate > 0) {
                    pause(began, *total, rate).await;
                }
                Ok(())
            };
            while let Some(piece) = stream.next().await {
                for part in piece.map_err(Error::stream)?.chunks(BATCH) {
                    file.feed(part, &mut visitor)?;
                    if visitor.out.len() >= BATCH {
                        flush(&mut visitor).await?;
                        on_bytes(file.offset());
                    }
                }
            }
            file.finish(&mut visitor)?;
            if visitor.in_multi {
                visitor.discard(summary.bytes);
            }
            flush(&mut visitor).await?;
            on_bytes(summary.bytes);
            drop(sent);
            Ok::<_, Error>(())
        };
        let skip = settings.skip_unsupported;
        let target = &self.target;
        let check = async {
            let mut transaction: Option<Transaction> = None;
            while let Some(what) = awaited.recv().await {
                let failed = replies.outcome(OPERATION).await?;
                match failed {
                    None => checked.answered(what, &mut transaction),
                    Some(failed) => checked
                        .failed(path, what, failed, &mut transaction, &settings.replay, skip)
                        .map_err(|(operation, message)| Error::Server {
                            target: target.clone(),
                            operation,
                            message,
                        })?,
                }
            }
            Ok::<_, Error>(())
        };
        // When the server refuses a command, feeding must stop as well, and the refusal is what is reported.
        let (mut feed, mut check) = (std::pin::pin!(feed), std::pin::pin!(check));
        tokio::select! {
            biased;
            checked = &mut check => checked,
            fed = &mut feed => match fed {
                Ok(()) => check.await,
                Err(error) => Err(error),
            },
        }
    }

    /// The connection, and the result.
    pub(super) fn finish(self) -> (Connection, Finished) {
        let Pipeline { translator, connection, checked, mut left_out, lefts, .. } = self;
        left_out.extend(checked.refused);
        let finished = Finished {
            commands: checked.commands,
            unwanted: translator.unwanted,
            scripts: translator.scripts,
            refused: left_out,
            refusals: lefts + checked.refusals,
            error_replies: checked.error_replies,
            errors: checked.errors,
            undated: translator.undated,
            counters: translator.counters,
            empty_streams: translator.empty_streams,
            placeholders: translator.placeholders,
            field_placeholders: translator.field_placeholders,
        };
        (connection, finished)
    }
}

impl ReplayVisitor<'_, '_> {
    /// Every file begins in database 0.
    fn begin(&mut self) {
        let db = self.translator.begin().to_string();
        wire::command(&mut self.out, &[b"SELECT", db.as_bytes()]);
        self.queue.push(Sent { offset: 0, shown: "SELECT".into(), kind: Kind::Plain, counts: false });
    }

    /// An unfinished transaction is ignored.
    fn discard(&mut self, offset: u64) {
        wire::command(&mut self.out, &[b"DISCARD"]);
        self.queue.push(Sent { offset, shown: "DISCARD".into(), kind: Kind::Discard, counts: false });
    }
}

impl Checked {
    /// Handles an error reply: ignored, counted as refused, or the operation and message of an error.
    fn failed(
        &mut self,
        path: &Path,
        what: Sent,
        Failed { place, message, errors }: Failed,
        transaction: &mut Option<Transaction>,
        options: &ReplayOptions,
        skip: bool,
    ) -> Result<(), (String, String)> {
        // The replies begin with the one to the command after MULTI.
        let within = place.and_then(|at| transaction.as_ref()?.first.get(usize::try_from(at).ok()?));
        let text = refused_by_server(path, &what, within, place);
        if !options.strict && !is_of_target(&message) {
            self.ignored(what, errors, format!("{text}: {message}"), transaction);
            return Ok(());
        }
        if !skip {
            let before = self.commands;
            let message = format!(
                "{message}. It has executed {before} commands before, whose effects remain there: clear it before retrying"
            );
            return Err((text, message));
        }
        self.refusals += 1;
        if self.refused.len() < NAMED {
            self.refused.push(format!("{text}: {message}"));
        }
        if what.kind == Kind::Exec {
            *transaction = None;
        }
        Ok(())
    }

    fn answered(&mut self, what: Sent, transaction: &mut Option<Transaction>) {
        match (what.kind, transaction.as_mut()) {
            (Kind::Multi, _) => {
                let counted = u64::from(what.counts);
                *transaction = Some(Transaction { first: vec![what], counted });
            }
            (Kind::Exec, Some(within)) => {
                self.commands += within.counted + u64::from(what.counts);
                *transaction = None;
            }
            (Kind::Discard, Some(_)) => *transaction = None,
            (Kind::Plain, Some(within)) => {
                within.counted += u64::from(what.counts);
                if within.first.len() < MAX_NAMED_COMMANDS {
                    within.first.push(what);
                }
            }
            (_, None) => self.commands += u64::from(what.counts),
        }
    }
}

impl Checked {
    /// An error reply that the server which wrote the file received as well, and ignored. The rest of a transaction was
    /// executed.
    fn ignored(&mut self, what: Sent, errors: u64, text: String, transaction: &mut Option<Transaction>) {
        self.errors += errors;
        if self.error_replies.len() < NAMED {
            self.error_replies.push(text);
        }
        if what.kind == Kind::Exec {
            let before = self.commands;
            self.answered(what, transaction);
            self.commands = before.max(self.commands.saturating_sub(errors));
        }
    }
}

fn refused_by_server(path: &Path, what: &Sent, within: Option<&Sent>, at: Option<u64>) -> String {
    let place = |sent: &Sent| format!("{}, byte {}: {}", path.display(), sent.offset, sent.shown);
    match (within, at) {
        (Some(within), _) => format!("{} (in a transaction)", place(within)),
        (None, Some(at)) => format!("{}, its command {at}", place(what)),
        (None, None) => place(what),
    }
}
