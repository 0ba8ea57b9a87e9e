//! Retries statements that the server aborted to resolve a deadlock with another client's session.

use std::time::Duration;

use crate::Error;
use crate::connect::Session;

/// Maximum number of retries. Each time the server waits for `deadlock_timeout` before it checks for a deadlock.
const MAX_RETRIES: u32 = 5;

/// Pause before a retry, multiplied by the number of the attempt, so that the blocking session can end.
const PAUSE: Duration = Duration::from_millis(200);

/// Runs a statement, and retries it after a deadlock (SQLSTATE 40P01).
///
/// # Errors
/// As [`Session::execute`]; also the deadlock of the last attempt.
pub(super) async fn execute(session: &Session, object: &str, sql: &str) -> Result<(), Error> {
    let mut attempt = 0;
    loop {
        match session.execute(object, sql).await {
            Err(error) if error.sqlstate() == Some("40P01") && attempt < MAX_RETRIES => {
                attempt += 1;
                tokio::time::sleep(PAUSE * attempt).await;
            }
            done => return done,
        }
    }
}
