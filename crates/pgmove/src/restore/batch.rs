//! Sends many cheap statements in one message: a round trip takes longer than most of them.
//!
//! The statements of a message are one transaction. If one is rejected, the server has rolled back all of them, and
//! they run again one by one: the result is the same, and the error names its object.

use crate::Error;
use crate::connect::Session;
use crate::ddl::{Section, Statement};

use super::plan::LARGE_OBJECT;
use super::{Target, deadlock};

/// Maximum number of statements per message; each may lock a few objects until all have run.
pub(super) const STATEMENTS: usize = 64;
/// A message longer than this takes no further statement.
const BYTES: usize = 128 << 10;

/// Whether a statement may share a transaction with others. One that calls a function may do anything, and one on an
/// extension's object may have to be skipped alone.
pub(super) fn may_share(statement: &Statement) -> bool {
    let sql = statement.sql.trim_start();
    let calls = ["SELECT", "CALL", "DO"].iter().any(|word| sql.starts_with(word));
    let sections = matches!(statement.section, Section::PreData | Section::Data | Section::Privileges);
    let own = statement.extension.is_none()
        && !matches!(
            statement.object.kind.as_str(),
            "extension" | "hypertable" | "subscription" | "database"
        );
    own && sections && (!calls || statement.section == Section::Data || statement.object.kind == LARGE_OBJECT)
}

/// Groups statements, in their order, into messages. A statement that may not share one is alone, and empty ones are
/// left out.
pub(super) fn messages<'a>(statements: impl Iterator<Item = &'a Statement>) -> Vec<Vec<&'a Statement>> {
    let mut all: Vec<Vec<&Statement>> = Vec::new();
    let (mut bytes, mut open) = (0, false);
    for statement in statements.filter(|statement| !statement.sql.is_empty()) {
        let shares = may_share(statement);
        match all.last_mut() {
            Some(last) if open && shares && last.len() < STATEMENTS && bytes < BYTES => last.push(statement),
            _ => {
                bytes = 0;
                all.push(vec![statement]);
            }
        }
        bytes += statement.sql.len();
        open = shares;
    }
    all
}

/// Runs statements in one transaction. `false` means that the server rejected one and rolled back all of them.
///
/// # Errors
/// If the connection is lost: it is then unknown whether they were committed.
pub(super) async fn together(session: &Session, statements: &[(&str, &str)]) -> Result<bool, Error> {
    let [(first, _), .., (last, _)] = statements else { return Ok(false) };
    let sql: Vec<&str> = statements.iter().map(|(_, sql)| *sql).collect();
    match session.execute(&format!("{first} to {last}"), &sql.join(";\n")).await {
        Ok(()) => Ok(true),
        Err(error) if error.is_lost() => Err(error),
        Err(_) => Ok(false),
    }
}

impl Target {
    /// Runs the statements of one message, one by one if necessary.
    pub(super) async fn send(&self, session: &Session, message: &[&Statement]) -> Result<(), Error> {
        let objects: Vec<String> = message.iter().map(|statement| statement.object.to_string()).collect();
        let pairs = || {
            objects.iter().zip(message).map(|(object, statement)| (object.as_str(), statement.sql.as_str()))
        };
        if together(session, &pairs().collect::<Vec<_>>()).await? {
            return Ok(());
        }
        for (object, sql) in pairs() {
            let done = deadlock::execute(session, object, sql).await;
            self.context.note(object, done.map_err(|error| self.with_hint(error)))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ddl::ObjectRef;

    fn statement(kind: &str, sql: &str) -> Statement {
        let object = ObjectRef { kind: kind.to_owned(), name: "x".to_owned() };
        Statement {
            section: Section::PreData,
            object,
            sql: sql.to_owned(),
            owner: None,
            weight: 0,
            depends_on: Vec::new(),
            locks: Vec::new(),
            extension: None,
            staged: None,
            done: false,
        }
    }

    #[test]
    fn a_message_combines_statements_in_order_except_those_that_call_functions() {
        let all = [
            statement("schema", "CREATE SCHEMA s"),
            statement("table", "CREATE TABLE s.t ()"),
            statement("hypertable", "SELECT create_hypertable('s.t', 'at')"),
            statement("extension", "CREATE EXTENSION e"),
            statement("table", "CREATE TABLE s.u ()"),
            statement("table", "CREATE TABLE s.v ()"),
        ];
        let sizes: Vec<usize> = messages(all.iter()).iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 1, 1, 2]);
        let many: Vec<Statement> =
            (0..STATEMENTS * 2 + 1).map(|_| statement("table", "CREATE TABLE t ()")).collect();
        let sizes: Vec<usize> = messages(many.iter()).iter().map(Vec::len).collect();
        assert_eq!(sizes, [STATEMENTS, STATEMENTS, 1]);
    }
}
