//! A baseline that cannot be used.

/// What is wrong with a baseline, never with a database.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BaselineError {
    /// It is not what this version understands; the message has line and column.
    #[error("{0}")]
    Syntax(String),
    /// A column's type is none that PostgreSQL, a common extension or the database knows.
    #[error("line {line}: column {table}.{column}: `{type_name}` is no type{}", did_you_mean(.suggestion))]
    UnknownType {
        /// The line of the baseline.
        line: usize,
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// The type as written.
        type_name: String,
        /// The type that was probably meant.
        suggestion: Option<String>,
    },
    /// A migration is named that is not declared.
    #[error("line {line}: migration `{name}` is not declared by a [[migration]]{}", did_you_mean(.suggestion))]
    UnknownMigration {
        /// The line of the baseline.
        line: usize,
        /// The name as written.
        name: String,
        /// The name that was probably meant.
        suggestion: Option<String>,
    },
    /// An environment is named that `environments` does not list.
    #[error("{}environment `{name}` is none of those that the baseline knows: {known}", at_line(.line))]
    UnknownEnvironment {
        /// The line of the baseline; none when it was asked for from outside.
        line: Option<usize>,
        /// The name.
        name: String,
        /// The names that are listed.
        known: String,
    },
    /// A migration is to be run or skipped that no file holds.
    #[error("no migration `{name}` is among the files{}", did_you_mean(.suggestion))]
    UnknownScript {
        /// The name.
        name: String,
        /// The name that was probably meant.
        suggestion: Option<String>,
    },
}

fn did_you_mean(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

fn at_line(line: &Option<usize>) -> String {
    line.map(|line| format!("line {line}: ")).unwrap_or_default()
}
