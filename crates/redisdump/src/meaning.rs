//! What a live key means: its DUMP payload and its expiry, asked for in pipelines.

use crate::digest::{Digester, Meaning};
use crate::rdb::dump;
use crate::rdb::{Problem, ValueType, Walker};
use crate::wire::{Connection, Reply, command};
use crate::{Error, ServerIdentity};

/// A key as a server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) meaning: Meaning,
    /// Absolute, in milliseconds.
    pub(crate) expiry: Option<i64>,
}

/// A connection that asks for keys.
pub(crate) struct Asker {
    connection: Connection,
    exact: bool,
    counters: bool,
    db: Option<u64>,
}

impl Asker {
    pub(crate) fn new(connection: Connection, server: &ServerIdentity) -> Asker {
        // PEXPIRETIME came with 7.0; before it, only the time left can be asked for.
        let exact = server.at_least(7, 0);
        Asker { connection, exact, counters: exact, db: None }
    }

    /// Whether counters of streams are part of what keys mean: the other side may not keep them.
    pub(crate) fn counters(&mut self, counters: bool) {
        self.counters &= counters;
    }

    /// True when this server keeps counters of streams.
    pub(crate) fn has_counters(&self) -> bool {
        self.counters
    }

    /// How far apart two equal expiries may look: nothing, or what passes between two questions.
    pub(crate) fn tolerance(&self) -> i64 {
        if self.exact { 0 } else { 2_000 }
    }

    pub(crate) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    pub(crate) async fn select(&mut self, db: u64) -> Result<(), Error> {
        if self.db != Some(db) {
            self.connection.ask(&[b"SELECT", db.to_string().as_bytes()]).await?;
            self.db = Some(db);
        }
        Ok(())
    }

    /// What these keys mean; nothing for one that is not there.
    pub(crate) async fn look_up(&mut self, keys: &[&[u8]]) -> Result<Vec<Option<Live>>, Error> {
        let mut out = Vec::new();
        for key in keys {
            command(&mut out, &[b"DUMP", key]);
            command(&mut out, &[if self.exact { b"PEXPIRETIME".as_slice() } else { b"PTTL" }, key]);
        }
        if !self.exact {
            command(&mut out, &[b"TIME"]);
        }
        let doing = "reading keys (DUMP)";
        // Both at once: the server may answer before it has read all questions.
        let Connection { reader, writer } = &mut self.connection;
        let answers = async {
            let mut answers = Vec::with_capacity(keys.len());
            for key in keys {
                let dump = reader.reply(doing).await?;
                let expiry = reader.reply(doing).await?;
                answers.push((*key, dump, expiry));
            }
            let now = if self.exact { 0 } else { milliseconds(&reader.reply(doing).await?) };
            Ok::<_, Error>((answers, now))
        };
        let ((), (answers, now)) = futures::try_join!(writer.send(&out, doing), answers)?;
        let target = self.connection.reader.target().to_owned();
        let mut found = Vec::with_capacity(keys.len());
        for (key, payload, expiry) in answers {
            let payload = match payload {
                Reply::Bulk(payload) => payload,
                Reply::Nil => {
                    found.push(None);
                    continue;
                }
                other => {
                    let message = match other {
                        Reply::Error(message) => message,
                        other => format!("unexpected reply {other:?}"),
                    };
                    return Err(Error::Server {
                        target,
                        doing: format!("DUMP of key {}", shown(key)),
                        message,
                    });
                }
            };
            let meaning = meaning_of(&payload, self.counters).map_err(|problem| Error::Protocol {
                target: target.clone(),
                message: format!("the DUMP of key {} cannot be read: {problem}", shown(key)),
            })?;
            found.push(match expiry.int() {
                // Gone between the two questions.
                Some(-2) => None,
                Some(at) if at >= 0 => Some(Live { meaning, expiry: Some(at + now) }),
                Some(_) => Some(Live { meaning, expiry: None }),
                None => {
                    let message = format!("{expiry:?}");
                    return Err(Error::Server {
                        target,
                        doing: format!("expiry of key {}", shown(key)),
                        message,
                    });
                }
            });
        }
        Ok(found)
    }
}

/// The server's clock from TIME's reply.
fn milliseconds(reply: &Reply) -> i64 {
    let Reply::Array(parts) = reply else { return 0 };
    let part = |at: usize| parts.get(at).and_then(Reply::int).unwrap_or(0);
    part(0).saturating_mul(1000).saturating_add(part(1) / 1000)
}

/// Reads a DUMP payload.
pub(crate) fn meaning_of(payload: &[u8], counters: bool) -> Result<Meaning, Problem> {
    let (body, version) = dump::open(payload)?;
    let (&code, value) = body.split_first().ok_or(Problem::Truncated)?;
    let value_type = ValueType::new(code, dump::dialect(version))?;
    let mut digester = match counters {
        true => Digester::default(),
        false => Digester::default().without_counters(),
    };
    digester.begin(value_type.kind());
    let walked = Walker::new(value_type).walk(value, &mut digester).map_err(|(_, problem)| problem)?;
    if !walked.done || walked.consumed != value.len() {
        return Err(Problem::Truncated);
    }
    Ok(digester.meaning())
}

/// A key for people: printable, and not endless.
pub(crate) fn shown(key: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(key).chars().take(100).collect();
    if text.chars().any(char::is_control) { format!("{text:?}") } else { text }
}
