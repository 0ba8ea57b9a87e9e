//! User-defined queries on restored data, each with an expected result.

use crate::config::Config;
use crate::endpoint::{Connection, Endpoint};
use crate::failure::Failure;
use crate::report::rehearsal::AssertionOutcome;

/// Runs all assertions configured for this source. One that cannot be evaluated has failed.
pub(crate) async fn ask(config: &Config, source: &str, target: &Endpoint) -> Vec<AssertionOutcome> {
    let Connection::Postgres(options) = &target.connection else { return Vec::new() };
    let mut outcomes = Vec::new();
    for assertion in &config.rehearse.assertions {
        if !assertion.is_about(source, &config.sources) {
            continue;
        }
        let object = format!("assertion `{}`", assertion.shown());
        let answer = pgmove::query_text(options, &object, &assertion.sql).await;
        let expected = assertion.expect.to_string();
        let (got, error) = match answer {
            Ok(got) => (Some(got), None),
            Err(error) => (None, Some(Failure::of(&anyhow::Error::new(error)).line())),
        };
        outcomes.push(AssertionOutcome {
            source: source.to_owned(),
            name: assertion.shown().to_owned(),
            passed: got.as_deref() == Some(expected.as_str()),
            expected,
            got,
            error,
        });
    }
    outcomes
}
