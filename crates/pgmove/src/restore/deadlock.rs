//! Statements that the server ended to resolve a deadlock with somebody else's session: they were rolled back as a
//! whole, and run again.

use std::time::Duration;

use crate::Error;
use crate::connect::Session;

/// So often a statement runs again. Each time the server waits for `deadlock_timeout` before it looks.
const MAX_RETRIES: u32 = 5;

/// Before a statement runs again, times the number of the attempt: whoever was in the way has time to end.
const PAUSE: Duration = Duration::from_millis(200);

/// Runs a statement, again after a deadlock (SQLSTATE 40P01).
///
/// # Errors
/// As [`Session::execute`]; the last deadlock too.
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
