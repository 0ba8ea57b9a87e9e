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
    #[error("{object}: the connection to the server failed: {source}")]
    Connection {
        /// What was worked on.
        object: String,
        /// The driver's error.
        #[source]
        source: tokio_postgres::Error,
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

fn detail_line(detail: &Option<String>) -> String {
    detail.as_ref().map(|detail| format!("\ndetail: {detail}")).unwrap_or_default()
}

fn hint_line(hint: &Option<String>) -> String {
    hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default()
}
