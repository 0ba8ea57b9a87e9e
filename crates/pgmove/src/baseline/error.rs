//! Errors in a baseline.

/// What is wrong with a baseline, as opposed to a database.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BaselineError {
    /// The file cannot be parsed; the message has line and column.
    #[error("{0}")]
    Syntax(String),
    /// A column's type is not known to PostgreSQL, a common extension or the database.
    #[error("line {line}: column {table}.{column}: unknown type `{type_name}`{}", did_you_mean(.suggestion))]
    UnknownType {
        /// The line of the baseline.
        line: usize,
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// The type as written.
        type_name: String,
        /// A similar name, which was probably meant.
        suggestion: Option<String>,
    },
    /// A migration is used but not declared.
    #[error("line {line}: migration `{name}` is not declared by a [[migration]]{}", did_you_mean(.suggestion))]
    UnknownMigration {
        /// The line of the baseline.
        line: usize,
        /// The name as written.
        name: String,
        /// A similar name, which was probably meant.
        suggestion: Option<String>,
    },
    /// An environment is used that `environments` does not list.
    #[error("{}unknown environment `{name}`; the baseline lists {known}", at_line(.line))]
    UnknownEnvironment {
        /// The line of the baseline; `None` if the name was given by the caller.
        line: Option<usize>,
        /// The name.
        name: String,
        /// The names that are listed.
        known: String,
    },
    /// A migration to run or skip is in none of the files.
    #[error("no migration `{name}` is among the files{}", did_you_mean(.suggestion))]
    UnknownScript {
        /// The name.
        name: String,
        /// A similar name, which was probably meant.
        suggestion: Option<String>,
    },
}

fn did_you_mean(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

fn at_line(line: &Option<usize>) -> String {
    line.map(|line| format!("line {line}: ")).unwrap_or_default()
}
