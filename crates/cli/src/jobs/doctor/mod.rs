//! Doctor: checks everything that a nightly run needs: sources, repository, host, schedule, notices.

mod host;
mod postgres;
mod redis;
mod sources;

use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};

use crate::context::Context;
use crate::endpoint::Endpoint;
use crate::failure::Failure;
use crate::report::doctor::{DoctorReport, Finding};

/// Maximum clock difference; with a larger one, snapshots would be dated wrongly.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// Runs all checks. A failed check is a finding and does not prevent the others.
pub(crate) async fn run(
    context: &Context,
    endpoints: anyhow::Result<Vec<Endpoint>>,
    send_test: bool,
    root: &Path,
    now: DateTime<Utc>,
) -> DoctorReport {
    let mut report = DoctorReport::default();
    match endpoints {
        Ok(endpoints) => {
            for (endpoint, unlisted) in crate::jobs::postgres::databases::expand(&endpoints).await {
                report.findings.extend(match unlisted {
                    Some(error) => vec![Finding::error(&endpoint.name, &error)],
                    None => sources::check(&endpoint, now).await,
                });
            }
        }
        Err(error) => report.add(Finding::error("sources", &error)),
    }
    repository(context, now, &mut report).await;
    host::check(context, root, now, &mut report);
    notices(context, send_test, now, &mut report).await;
    report
}

async fn repository(context: &Context, now: DateTime<Utc>, report: &mut DoctorReport) {
    let subject = "repository";
    let repository = match context.open_repository().await {
        Ok(repository) => repository,
        Err(error) => return report.add(Finding::error(subject, &error)),
    };
    report.add(Finding::ok(subject, format!("{} opens", repository.address())));
    match repository.store_clock().await {
        Ok(store) if (store - now).abs() > CLOCK_TOLERANCE => report.add(Finding::failure(
            subject,
            format!(
                "the clocks of this host and of the store differ by {} minutes",
                (store - now).num_minutes().abs()
            ),
            "set the clock: snapshots take their date from it",
        )),
        Ok(_) => report.add(Finding::ok(subject, "can be written to, and its clock agrees with this host's")),
        Err(error) => report.add(Finding::error(subject, &error.into())),
    }
    if !repository.can_read() {
        report.add(Finding::ok(subject, "this host can write, list and prune, but cannot decrypt backups"));
    }
    match context.repository_url() {
        Ok(url) if !url.contains("://") => host::space(subject, Path::new(&url), report),
        _ => {}
    }
}

async fn notices(context: &Context, send_test: bool, now: DateTime<Utc>, report: &mut DoctorReport) {
    let subject = "notices";
    let configured = &context.config.notify;
    if configured.is_empty() {
        return report.add(Finding::warning(
            subject,
            "no notice is sent when a run fails or when none runs",
            "set `[[notify]]`, preferably one of kind healthchecks",
        ));
    }
    let mut channels = Vec::new();
    for notify in configured {
        match crate::notify::Channel::open(notify, &context.config, &context.secrets) {
            Ok(channel) => channels.push(channel),
            Err(error) => report.add(Finding::error(subject, &error.into())),
        }
    }
    if !send_test {
        let names: Vec<&str> = channels.iter().map(|channel| channel.name.as_str()).collect();
        let text = format!("configured: {}; `dbhaul doctor --send-test` sends one", names.join(", "));
        return report.add(Finding::ok(subject, text));
    }
    let notice = crate::notify::Notice {
        job: context.config.job.id.clone(),
        host: crate::jobs::nightly::host(),
        at: now,
        occasions: Vec::new(),
        exit_code: 0,
        text: format!("dbhaul: a test notice of job {}. No action is needed.\n", context.config.job.id),
        report: serde_json::Value::Null,
    };
    for (name, sent) in crate::notify::send_test(channels, &notice).await {
        report.add(match sent {
            Ok(()) => Finding::ok(subject, format!("a test notice to `{name}` was delivered")),
            Err(error) => Finding::failure(
                subject,
                format!("a test notice to `{name}` was not delivered: {error}"),
                "look at its URL, and whether this host reaches it",
            ),
        });
    }
}

impl Finding {
    /// An error as a finding, with its own hint.
    pub(crate) fn error(subject: &str, error: &anyhow::Error) -> Finding {
        Finding::failure(subject, Failure::of(error).line(), "")
    }
}
