//! What can go wrong, with the object, the server's own words, and what to do.

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server refused a statement.
    #[error(
        "{object}: {message} (SQLSTATE {sqlstate}){}{}{}{}",
        line("detail", .detail), line("hint", .hint), line("where", .context), line("statement", &Some(brief(.statement)))
    )]
    Server {
        /// What was worked on, in words: `table public.market_data`.
        object: String,
        /// The statement that was refused. One that holds a password is not shown.
        statement: String,
        /// The server's five-letter code.
        sqlstate: String,
        /// The server's message.
        message: String,
        /// The server's DETAIL.
        detail: Option<String>,
        /// The server's HINT.
        hint: Option<String>,
        /// The server's CONTEXT: the line and the column of a COPY, the calls of a function.
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

    /// The server sent text that is no UTF-8: a database whose encoding is SQL_ASCII may hold names of any bytes.
    #[error(
        "{object}: a name, a definition or a comment there is not UTF-8, and cannot be carried\nhint: the database's encoding is most likely SQL_ASCII; rename the object, or drop the comment, that holds such bytes (rows may hold any)"
    )]
    NotText {
        /// What was read.
        object: String,
        /// The driver's error.
        #[source]
        source: tokio_postgres::Error,
    },

    /// The connection could not be made.
    #[error("cannot connect to {target}: {message}{}", line("hint", .hint))]
    Connect {
        /// Where to, without secrets.
        target: String,
        /// What went wrong: the server's words, or the system's.
        message: String,
        /// What to do.
        hint: Option<String>,
        /// The driver's error; nothing when the server did not answer in time.
        #[source]
        source: Option<tokio_postgres::Error>,
    },

    /// The connection's parameters make no sense.
    #[error("{0}")]
    Options(String),

    /// A safety rule forbids it; nothing was written.
    #[error("{what}; nothing was written:\n  {}", .conflicts.join("\n  "))]
    Refused {
        /// What is refused.
        what: String,
        /// Every reason.
        conflicts: Vec<String>,
    },

    /// The lock on a table was not to be had in time. Found before any row was read.
    #[error(
        "lock on table {table} was not available within {seconds} s; nothing was read:\n  {}\nhint: end the transaction that has it (COMMIT PREPARED or ROLLBACK PREPARED for a prepared one), or allow a longer wait",
        .holders.join("\n  ")
    )]
    Locked {
        /// The table.
        table: String,
        /// How long it was waited for.
        seconds: f64,
        /// Who holds or wants it, in words.
        holders: Vec<String>,
    },

    /// The server lacks what the rest needs: found after the schema was begun, before any row was copied.
    #[error(
        "{what}; no row was copied, and what was made of the schema is there:\n  {}\nhint: drop it, and restore into a server that has this, or leave these out",
        .conflicts.join("\n  ")
    )]
    Incapable {
        /// What cannot be done.
        what: String,
        /// Every reason.
        conflicts: Vec<String>,
    },

    /// The role may not read all that is to be read. Found before any row is.
    #[error(
        "role {role} may not read all of {server}; nothing was read:\n  {}\nhint: GRANT SELECT on these (and USAGE on their schemas), connect as another role, or leave them out by a filter",
        .objects.join("\n  ")
    )]
    Unreadable {
        /// The source.
        server: String,
        /// The role.
        role: String,
        /// What it may not read.
        objects: Vec<String>,
    },

    /// The source's snapshot was lost before all was read, so that what was read is of no use.
    #[error(
        "{server}: the snapshot was lost before all rows were read ({message}); what was copied so far is not consistent and is not used"
    )]
    SnapshotLost {
        /// The source.
        server: String,
        /// The server's words.
        message: String,
    },

    /// The server was silent, or took nothing, for too long.
    #[error(
        "{object}: nothing moved for {seconds} s; does the server wait for a lock, or is the connection dead?"
    )]
    Stalled {
        /// What was copied.
        object: String,
        /// How long.
        seconds: u64,
    },

    /// The server took another number of rows than were sent.
    #[error("{object}: {sent} rows were sent, and the server took {taken}; none of them are in the table")]
    RowCount {
        /// The table.
        object: String,
        /// Rows in the stream.
        sent: u64,
        /// Rows by the server's word.
        taken: u64,
    },

    /// The stream that was to be copied in failed; the table's transaction was rolled back.
    #[error("{object}: the stream of rows failed, and none of this stream's rows are in the table: {source}")]
    Rows {
        /// The table.
        object: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// Rows were brought into a schema with foreign keys, and some refer to nothing.
    #[error(
        "{server}: the rows are in, and do not fit together:\n  {}\nhint: bring the tables that they refer to as well, or mend the rows; the server does not check again by itself",
        .references.join("\n  ")
    )]
    Dangling {
        /// The target.
        server: String,
        /// Each foreign key.
        references: Vec<String>,
    },

    /// Something was dropped while the catalog was read, each time that it was.
    #[error(
        "{object} was dropped while the catalog was read, or the catalog is damaged; nothing was read\nhint: the catalog was read {attempts} times; try again when nobody creates and drops objects"
    )]
    Vanished {
        /// What, with its kind.
        object: String,
        /// How often the catalog was read.
        attempts: u32,
    },

    /// A row of the server's catalog does not have the form that this version knows.
    #[error(
        "the server's list of {what} has a row that this version does not understand: {source}; row: {row}"
    )]
    CatalogRow {
        /// The kind of object.
        what: &'static str,
        /// The row as it came, shortened.
        row: String,
        /// Why it was not understood.
        #[source]
        source: serde_json::Error,
    },
}

impl Error {
    pub(crate) fn options(message: impl Into<String>) -> Self {
        Self::Options(message.into())
    }

    /// A failure to connect, in words that lead on.
    pub(crate) fn connect(target: String, source: tokio_postgres::Error) -> Self {
        let message = match source.as_db_error() {
            Some(db) => format!("{} (SQLSTATE {})", db.message(), db.code().code()),
            None => chain(&source),
        };
        let hint = match source.code().map(tokio_postgres::error::SqlState::code) {
            Some("28P01") => Some(
                "is the password right? It is taken from the URL, PGPASSWORD, ~/.pgpass or the configuration",
            ),
            Some("28000") => Some(
                "pg_hba.conf of the server decides who may connect from where, and whether TLS is wanted",
            ),
            Some("3D000") => Some("create the database first, or name another"),
            Some("53300") => Some(
                "the server has no room for further connections: fewer --jobs, or a higher max_connections",
            ),
            _ if message.contains("password missing") => {
                Some("the server asks for a password: PGPASSWORD, ~/.pgpass or the configuration may give it")
            }
            _ => None,
        };
        Self::Connect { target, message, hint: hint.map(str::to_owned), source: Some(source) }
    }

    /// A server to which no way leads.
    pub(crate) fn unreachable(target: String, error: &std::io::Error) -> Self {
        Self::Connect { target, message: error.to_string(), hint: None, source: None }
    }

    /// A server that did not answer in time.
    pub(crate) fn silent(target: String, seconds: u64) -> Self {
        Self::Connect { target, message: format!("no answer within {seconds} s"), hint: None, source: None }
    }

    /// True when a safety rule forbade it and nothing was written.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// True when the command line or the configuration is wrong.
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

    /// True when TLS could not be agreed on, or the server's certificate was not accepted.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Connect { message, .. } if message.starts_with("error performing TLS handshake"))
    }

    /// True when the server does not believe that we are who we say: SQLSTATE class 28, or no password to give.
    pub fn is_auth(&self) -> bool {
        match self {
            Self::Connect { message, .. } => {
                self.sqlstate().is_some_and(|state| state.starts_with("28"))
                    || message.contains("password missing")
            }
            _ => false,
        }
    }

    /// True when the role lacks a right: SQLSTATE 42501, or tables that it may not read.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Unreadable { .. }) || self.sqlstate() == Some("42501")
    }

    /// True when an established connection broke, or the server was shut down below it (SQLSTATE 57P01 to 57P03).
    pub fn is_lost(&self) -> bool {
        match self {
            Self::Connection { .. } | Self::SnapshotLost { .. } | Self::Stalled { .. } => true,
            Self::Server { sqlstate, .. } => sqlstate.starts_with("57P0"),
            _ => false,
        }
    }

    /// The server's five-letter code, where the server refused something.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Server { sqlstate, .. } => Some(sqlstate),
            Self::Locked { .. } => Some("55P03"),
            Self::Connect { source: Some(source), .. } => source.code().map(|code| code.code()),
            _ => None,
        }
    }

    /// An error of the driver while `object` was worked on by `statement`.
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
            // The driver tells its kinds of failure apart by their words alone.
            None if !source.is_closed() && source.to_string().contains("deserializing") => {
                Self::NotText { object: object.into(), source }
            }
            None => Self::Connection { object: object.into(), source },
        }
    }
}

/// Statements of user mappings, subscriptions and roles may hold a password; those are not kept.
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
        return format!("{} … (not shown: it may hold a password)", verb.join(" "));
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

/// An error with its causes, each once: the driver's own text alone says little.
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
        assert_eq!(kept, "CREATE USER MAPPING … (not shown: it may hold a password)");
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
