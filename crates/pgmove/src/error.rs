//! What can go wrong, with the object, the server's own words, and what to do.

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server refused a statement.
    #[error("{object}: {message} (SQLSTATE {sqlstate}){}{}", detail_line(.detail), hint_line(.hint))]
    Server {
        /// What was worked on, in words: `table public.market_data`.
        object: String,
        /// The statement that was refused.
        statement: String,
        /// The server's five-letter code.
        sqlstate: String,
        /// The server's message.
        message: String,
        /// The server's DETAIL.
        detail: Option<String>,
        /// The server's HINT.
        hint: Option<String>,
        /// The driver's error.
        #[source]
        source: tokio_postgres::Error,
    },

    /// The connection failed while an object was worked on.
    #[error("{object}: the connection to the server failed: {}", chain(.source))]
    Connection {
        /// What was worked on.
        object: String,
        /// The driver's error.
        #[source]
        source: tokio_postgres::Error,
    },

    /// The connection could not be made.
    #[error("cannot connect to {target}: {message}{}", hint_line(.hint))]
    Connect {
        /// Where to, without secrets.
        target: String,
        /// What went wrong: the server's words, or the system's.
        message: String,
        /// What to do.
        hint: Option<String>,
        /// The driver's error.
        #[source]
        source: tokio_postgres::Error,
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

    /// The source's snapshot was lost before all was read, so that what was read is of no use.
    #[error("{server}: the snapshot was lost before all rows were read ({message}); what was copied so far is not consistent and is not used")]
    SnapshotLost {
        /// The source.
        server: String,
        /// The server's words.
        message: String,
    },

    /// The server sent nothing for too long.
    #[error("{object}: the server sent nothing for {seconds} s; is it waiting for a lock, or is the connection dead?")]
    Stalled {
        /// What was read.
        object: String,
        /// How long.
        seconds: u64,
    },

    /// The server took another number of rows than were sent.
    #[error("{object}: {sent} rows were sent, and the server took {taken}")]
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
            Some("28P01" | "28000") => {
                Some("is the password right? It is taken from the URL, PGPASSWORD, ~/.pgpass or the configuration".to_owned())
            }
            Some("3D000") => Some("create the database first, or name another".to_owned()),
            _ => None,
        };
        Self::Connect { target, message, hint, source }
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
        matches!(self, Self::Connect { source, .. } if source.as_db_error().is_none())
    }

    /// The server's five-letter code, where the server refused something.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Server { sqlstate, .. } => Some(sqlstate),
            Self::Connect { source, .. } => source.code().map(|code| code.code()),
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
                statement: statement.into(),
                sqlstate: db.code().code().to_owned(),
                message: db.message().to_owned(),
                detail: db.detail().map(str::to_owned),
                hint: db.hint().map(str::to_owned),
                source,
            },
            None => Self::Connection { object: object.into(), source },
        }
    }
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

fn detail_line(detail: &Option<String>) -> String {
    detail.as_ref().map(|detail| format!("\ndetail: {detail}")).unwrap_or_default()
}

fn hint_line(hint: &Option<String>) -> String {
    hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default()
}
