//! Errors, with the object, the server's own words, and what to do.

use crate::conflict::{Conflict, joined};
use crate::remedy::Remedy;

/// The hint for a statement that fails because a function relies on a search path.
pub(crate) const EMPTY_SEARCH_PATH: &str = "the search path is empty during a restore; if a function names objects without \
    their schema, fix it by ALTER FUNCTION … SET search_path";

/// Any error of a caller, such as of a stream of rows.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server rejected a statement.
    #[error(
        "{object}: {message} (SQLSTATE {sqlstate}){}{}{}{}",
        line("detail", .detail), line("hint", .hint), line("where", .context), line("statement", &Some(brief(.statement)))
    )]
    Server {
        /// What was worked on, such as `table public.market_data`.
        object: String,
        /// The statement that failed. Statements that may contain a password are shortened.
        statement: String,
        /// The SQLSTATE.
        sqlstate: String,
        /// The server's message.
        message: String,
        /// The server's DETAIL.
        detail: Option<String>,
        /// The server's HINT.
        hint: Option<String>,
        /// The server's CONTEXT, such as the line and column of a COPY, or the call stack of a function.
        context: Option<String>,
        /// The driver's error.
        #[source]
        source: tokio_postgres::Error,
    },

    /// The connection failed while an object was worked on.
    #[error("{object}: the connection to the server was lost: {}", chain(.source))]
    Connection {
        /// What was worked on.
        object: String,
        /// The driver's error.
        #[source]
        source: tokio_postgres::Error,
    },

    /// The server sent text that is not UTF-8: in a SQL_ASCII database, names may contain any bytes.
    #[error(
        "{object}: a name, definition or comment is not valid UTF-8 and cannot be copied\nhint: the database's encoding is most likely SQL_ASCII; rename the object, or drop the comment, that holds such bytes (rows may hold any)"
    )]
    NotText {
        /// What was read.
        object: String,
        /// The driver's error.
        #[source]
        source: tokio_postgres::Error,
    },

    /// The connection could not be established.
    #[error("cannot connect to {target}: {message}{}", line("hint", .hint))]
    Connect {
        /// The address, without secrets.
        target: String,
        /// The server's or the system's message.
        message: String,
        /// One thing to do.
        hint: Option<String>,
        /// The driver's error; `None` if the server did not answer in time.
        #[source]
        source: Option<tokio_postgres::Error>,
    },

    /// The connection parameters are invalid.
    #[error("{0}")]
    Options(String),

    /// A safety rule forbids the operation; nothing was written.
    #[error("{what}; nothing was written:\n  {}", joined(.conflicts, "\n  "))]
    Refused {
        /// What was refused.
        what: String,
        /// Every reason.
        conflicts: Vec<Conflict>,
    },

    /// A table lock was not granted in time, before any row was read.
    #[error(
        "lock on table {table} was not available within {seconds} s; nothing was read:\n  {}\nhint: end the transaction that holds it (COMMIT PREPARED or ROLLBACK PREPARED for a prepared one), or allow a longer wait",
        .holders.join("\n  ")
    )]
    Locked {
        /// The table.
        table: String,
        /// How long the lock was waited for, in seconds.
        seconds: f64,
        /// The sessions that hold or wait for the lock, described.
        holders: Vec<String>,
    },

    /// The server lacks something the restore needs. Found after the schema was begun, before any row was copied.
    #[error(
        "{what}; no row was copied; the part of the schema that was created remains:\n  {}\nhint: drop it and restore into a server that supports this, or leave these objects out",
        joined(.conflicts, "\n  ")
    )]
    Incapable {
        /// What cannot be done.
        what: String,
        /// Every reason.
        conflicts: Vec<Conflict>,
    },

    /// The role lacks privileges to read part of the source. Found before any row is read.
    #[error(
        "role {role} cannot read all of {server}; nothing was read:\n  {}\nhint: GRANT SELECT on these (and USAGE on their schemas), connect as another role, or leave them out by a filter",
        .objects.join("\n  ")
    )]
    Unreadable {
        /// The source.
        server: String,
        /// The role.
        role: String,
        /// The objects that it may not read.
        objects: Vec<String>,
    },

    /// The source's snapshot was lost before all rows were read, so that the rows read so far are inconsistent.
    #[error(
        "{server}: the snapshot was lost before all rows were read ({message}); what was copied so far is inconsistent and is not used"
    )]
    SnapshotLost {
        /// The source.
        server: String,
        /// The server's message.
        message: String,
    },

    /// The server neither sent nor accepted data for too long.
    #[error(
        "{object}: no progress for {seconds} s; the server may be waiting for a lock, or the connection may be dead"
    )]
    Stalled {
        /// What was copied.
        object: String,
        /// How long.
        seconds: u64,
    },

    /// The server reported a different number of rows than were sent.
    #[error("{object}: sent {sent} rows, but the server reported {taken}; none of them were kept")]
    RowCount {
        /// The table.
        object: String,
        /// Rows that were sent.
        sent: u64,
        /// Rows that the server reported.
        taken: u64,
    },

    /// The stream of rows to copy in failed; its transaction was rolled back.
    #[error("{object}: the stream of rows failed; none of its rows were kept: {source}")]
    Rows {
        /// The table.
        object: String,
        /// Why.
        #[source]
        source: BoxError,
    },

    /// Rows were loaded into an existing schema, and some violate its foreign keys.
    #[error(
        "{server}: rows were loaded but violate constraints:\n  {}\nhint: load the referenced tables as well, or fix the rows; the server does not check existing rows again by itself",
        .references.join("\n  ")
    )]
    Dangling {
        /// The target.
        server: String,
        /// The violated foreign keys.
        references: Vec<String>,
    },

    /// An object was dropped while the catalog was read, at every attempt.
    #[error(
        "{object} was dropped while the catalog was read, or the catalog is damaged; nothing was read\nhint: the catalog was read {attempts} times; try again when no objects are being created or dropped"
    )]
    Vanished {
        /// The object with its kind.
        object: String,
        /// How often the catalog was read.
        attempts: u32,
    },

    /// A row of the server's catalog does not have the expected form.
    #[error("cannot parse a row of the server's list of {what}: {source}; row: {row}")]
    CatalogRow {
        /// The kind of object.
        what: &'static str,
        /// The row, shortened.
        row: String,
        /// The parser's error.
        #[source]
        source: serde_json::Error,
    },
}

impl Error {
    pub(crate) fn options(message: impl Into<String>) -> Self {
        Self::Options(message.into())
    }

    /// A connection error with a hint for common causes.
    pub(crate) fn connect(target: String, source: tokio_postgres::Error) -> Self {
        let message = match source.as_db_error() {
            Some(db) => format!("{} (SQLSTATE {})", db.message(), db.code().code()),
            None => chain(&source),
        };
        let hint = match source.code().map(tokio_postgres::error::SqlState::code) {
            Some("28P01") => Some(
                "check the password; it is read from the URL, PGPASSWORD, ~/.pgpass or the configuration",
            ),
            Some("28000") => Some(
                "check pg_hba.conf on the server, which decides who may connect from where and whether TLS is required",
            ),
            Some("3D000") => Some("create the database first, or connect to another"),
            Some("53300") => Some(
                "the server has no connection slots left: use fewer parallel jobs, or raise max_connections",
            ),
            _ if message.contains("password missing") => {
                Some("the server requires a password: set it in PGPASSWORD, ~/.pgpass or the configuration")
            }
            _ => None,
        };
        Self::Connect { target, message, hint: hint.map(str::to_owned), source: Some(source) }
    }

    /// A server that cannot be reached.
    pub(crate) fn unreachable(target: String, error: &std::io::Error) -> Self {
        Self::Connect { target, message: error.to_string(), hint: None, source: None }
    }

    /// A server that did not answer in time.
    pub(crate) fn silent(target: String, seconds: u64) -> Self {
        Self::Connect { target, message: format!("no answer within {seconds} s"), hint: None, source: None }
    }

    /// A refusal for one reason.
    pub(crate) fn refused(what: impl Into<String>, conflict: Conflict) -> Self {
        Self::Refused { what: what.into(), conflicts: vec![conflict] }
    }

    /// What resolves a refusal or a failed statement, each once.
    pub fn remedies(&self) -> Vec<Remedy> {
        let mut remedies = match self {
            Self::Server { hint: Some(hint), .. } if hint == EMPTY_SEARCH_PATH => vec![Remedy::SetSearchPath],
            _ => Vec::new(),
        };
        for remedy in self.conflicts().iter().filter_map(Conflict::remedy) {
            if !remedies.contains(&remedy) {
                remedies.push(remedy);
            }
        }
        remedies
    }

    /// The reasons of a refusal.
    pub fn conflicts(&self) -> &[Conflict] {
        match self {
            Self::Refused { conflicts, .. } | Self::Incapable { conflicts, .. } => conflicts,
            _ => &[],
        }
    }

    /// True when a safety rule forbade the operation; nothing was written.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// True when the connection parameters are invalid.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Options(_))
    }

    /// True when the server did not answer at all.
    pub fn is_unreachable(&self) -> bool {
        let answered = |source: &Option<tokio_postgres::Error>| {
            source.as_ref().is_some_and(|source| source.as_db_error().is_some())
        };
        matches!(self, Self::Connect { source, .. } if !answered(source)) && !self.is_tls() && !self.is_auth()
    }

    /// True when the TLS handshake failed, for example because the server's certificate was not accepted.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Connect { message, .. } if message.starts_with("error performing TLS handshake"))
    }

    /// True when authentication failed: SQLSTATE class 28, or no password available.
    pub fn is_auth(&self) -> bool {
        match self {
            Self::Connect { message, .. } => {
                self.sqlstate().is_some_and(|state| state.starts_with("28"))
                    || message.contains("password missing")
            }
            _ => false,
        }
    }

    /// True when the role lacks a privilege: SQLSTATE 42501, or [`Error::Unreadable`].
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Unreadable { .. }) || self.sqlstate() == Some("42501")
    }

    /// True when an established connection broke, or the server was shut down (SQLSTATE 57P01 to 57P03).
    pub fn is_lost(&self) -> bool {
        match self {
            Self::Connection { .. } | Self::SnapshotLost { .. } | Self::Stalled { .. } => true,
            Self::Server { sqlstate, .. } => sqlstate.starts_with("57P0"),
            _ => false,
        }
    }

    /// The SQLSTATE, if the server rejected something.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Server { sqlstate, .. } => Some(sqlstate),
            Self::Locked { .. } => Some("55P03"),
            Self::Connect { source: Some(source), .. } => source.code().map(|code| code.code()),
            _ => None,
        }
    }

    /// Wraps a driver error that occurred while `statement` worked on `object`.
    pub fn from_server(
        object: impl Into<String>,
        statement: impl Into<String>,
        source: tokio_postgres::Error,
    ) -> Self {
        match source.as_db_error() {
            Some(db) => Self::Server {
                object: object.into(),
                statement: without_secrets(statement.into()),
                sqlstate: db.code().code().to_owned(),
                message: db.message().to_owned(),
                detail: db.detail().map(str::to_owned),
                hint: db.hint().map(str::to_owned),
                context: db.where_().map(str::to_owned),
                source,
            },
            // The driver distinguishes kinds of failure only by their text.
            None if !source.is_closed() && source.to_string().contains("deserializing") => {
                Self::NotText { object: object.into(), source }
            }
            None => Self::Connection { object: object.into(), source },
        }
    }
}

/// Statements for user mappings, subscriptions and roles may contain a password: those are shortened.
pub(crate) fn without_secrets(statement: String) -> String {
    let lower = statement.to_ascii_lowercase();
    let named = ["user mapping", "create subscription", "alter subscription"]
        .iter()
        .any(|words| lower.contains(words));
    let given = lower.match_indices("password").any(|(at, word)| {
        let rest = lower.get(at + word.len()..).unwrap_or_default();
        rest.trim_start().starts_with(['\'', '='])
    });
    if named || given {
        let verb: Vec<&str> = statement.split_whitespace().take(3).collect();
        return format!("{} … (not shown: it may contain a password)", verb.join(" "));
    }
    statement
}

/// The beginning of a statement, on one line.
fn brief(statement: &str) -> String {
    const LONGEST: usize = 300;
    let mut words: String = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = words.char_indices().nth(LONGEST) {
        words.truncate(end);
        words.push('…');
    }
    words
}

/// An error with its causes, each once: the driver's own text is not sufficient.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = cause.source();
    }
    text
}

fn line(name: &str, text: &Option<String>) -> String {
    text.as_ref().map(|text| format!("\n{name}: {text}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_with_a_password_is_not_kept() {
        let kept =
            without_secrets("CREATE USER MAPPING FOR u SERVER s OPTIONS (password 'hunter2')".to_owned());
        assert_eq!(kept, "CREATE USER MAPPING … (not shown: it may contain a password)");
        assert!(!without_secrets("CREATE ROLE r PASSWORD  'hunter2'".to_owned()).contains("hunter2"));
        let harmless = "CREATE TABLE subscriptions (password text)";
        assert_eq!(without_secrets(harmless.to_owned()), harmless);
    }

    #[test]
    fn a_long_statement_is_cut_between_characters() {
        let text = brief(&"한글 ".repeat(500));
        assert!(text.ends_with('…') && text.chars().count() == 301);
    }
}
