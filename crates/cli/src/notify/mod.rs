//! Notices about runs: Discord, Slack, JSON to any URL, and dead man's switches with the protocol of healthchecks.io.
//!
//! Notices are sent by separate tasks, so that they never delay a backup. What is not delivered [`DRAIN`] after the
//! run is dropped with a warning. Failures do not change the exit code. The URL of a channel is a secret: no message
//! contains it, and it is removed from errors of the HTTP client.

mod body;
mod dead_man;
mod http;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(crate) use body::Notice;
pub(crate) use http::{DeliveryError, Http, Limits, Method, Request};

use crate::config::{ChannelKind, Config, ConfigError, NotifyConfig, Occasion, Secrets};
use crate::ui::Progress;
use dead_man::Switch;

/// How long to wait for notices after a run.
pub(crate) const DRAIN: Duration = Duration::from_secs(30);

/// A channel to notify.
pub(crate) struct Channel {
    /// Name in messages.
    pub(crate) name: String,
    kind: ChannelKind,
    url: String,
    occasions: Vec<Occasion>,
    quiet_for: TimeDelta,
}

impl Channel {
    /// The configured channels. If the URL of one is not available, it is skipped with a warning, and the backup
    /// continues.
    pub(crate) fn configured(config: &Config, secrets: &Secrets, progress: &Progress) -> Vec<Channel> {
        let open = |notify: &NotifyConfig| {
            let opened = Channel::open(notify, config, secrets);
            let warn = |error: &ConfigError| {
                progress.warn(format!("no notice is sent to `{}`: {error}", notify.shown()));
            };
            opened.inspect_err(warn).ok()
        };
        config.notify.iter().filter_map(open).collect()
    }

    /// Opens a channel with its URL.
    pub(crate) fn open(
        notify: &NotifyConfig,
        config: &Config,
        secrets: &Secrets,
    ) -> Result<Channel, ConfigError> {
        Ok(Channel {
            name: notify.shown().to_owned(),
            kind: notify.kind,
            url: notify.resolve_url(&config.folder, secrets)?,
            occasions: notify.occasions().to_vec(),
            quiet_for: notify.quiet_for(),
        })
    }

    /// Whether this channel wants the notice. `last` is when it last received the same.
    fn wants(&self, notice: &Notice, last: Option<DateTime<Utc>>) -> bool {
        if self.occasions.contains(&Occasion::Always) {
            return true;
        }
        let asked = notice.occasions.iter().any(|occasion| self.occasions.contains(occasion));
        // The absolute difference, so that a clock that was set back cannot silence it for longer.
        let sent_recently = last.is_some_and(|last| (notice.at - last).abs() < self.quiet_for);
        asked && (!sent_recently || notice.occasions.contains(&Occasion::Recovered))
    }

    /// Key under which the time of the last such notice is stored.
    pub(crate) fn key(&self, notice: &Notice) -> String {
        let words: Vec<&str> = notice.occasions.iter().map(|occasion| occasion.as_str()).collect();
        format!("{}: {}", self.name, words.join(" "))
    }
}

/// Sends a test notice to every channel, and returns for each whether it was delivered. A dead man's switch gets a
/// log entry, which does not count as a run.
pub(crate) async fn send_test(
    channels: Vec<Channel>,
    notice: &Notice,
) -> Vec<(String, Result<(), DeliveryError>)> {
    let mut sent = Vec::new();
    let http = Http::new(Limits { attempts: 1, ..Limits::default() });
    for channel in channels {
        let request = match channel.kind {
            ChannelKind::Healthchecks => dead_man::log(&channel.url, &notice.text),
            kind => notice.request(kind, &channel.url),
        };
        let delivered = match &http {
            Ok(http) => http.deliver(&request).await,
            Err(error) => Err(error.clone()),
        };
        sent.push((channel.name, delivered));
    }
    sent
}

/// Notices of a run, in progress.
pub(crate) struct Notifier {
    channels: Vec<Channel>,
    http: Option<Http>,
    switches: Vec<Switch>,
    progress: Progress,
}

impl Notifier {
    /// Prepares the channels, and sends the start of the run to dead man's switches.
    pub(crate) fn start(channels: Vec<Channel>, limits: Limits, progress: &Progress) -> Notifier {
        let http = match channels.is_empty() {
            true => None,
            false => Http::new(limits)
                .inspect_err(|error| progress.warn(format!("no notice can be sent: {error}")))
                .ok(),
        };
        let run = uuid::Uuid::new_v4();
        let of_kind = channels.iter().filter(|channel| channel.kind == ChannelKind::Healthchecks);
        let switches = http.iter().flat_map(|http| {
            of_kind.clone().map(|channel| Switch::start(&channel.name, &channel.url, run, http.clone()))
        });
        let switches = switches.collect();
        Notifier { channels, http, switches, progress: progress.clone() }
    }

    /// Sends the notices, and waits for them up to `within`. `last` returns when a channel last received the same.
    /// Returns the keys ([`Channel::key`]) of delivered notices.
    pub(crate) async fn finish(
        self,
        notice: &Notice,
        last: impl Fn(&str) -> Option<DateTime<Utc>>,
        within: Duration,
    ) -> Vec<String> {
        let Some(http) = &self.http else { return Vec::new() };
        type Delivery = JoinHandle<Result<(), DeliveryError>>;
        let mut under_way: Vec<(String, Option<String>, Delivery)> = Vec::new();
        for channel in self.channels.iter().filter(|channel| channel.kind != ChannelKind::Healthchecks) {
            let key = channel.key(notice);
            if !channel.wants(notice, last(&key)) {
                continue;
            }
            let (http, request) = (http.clone(), notice.request(channel.kind, &channel.url));
            let task = tokio::spawn(async move { http.deliver(&request).await });
            under_way.push((channel.name.clone(), Some(key), task));
        }
        for switch in self.switches {
            let (name, task) = switch.finish(notice.exit_code, &notice.text);
            under_way.push((name, None, task));
        }
        let deadline = tokio::time::Instant::now() + within;
        let mut delivered = Vec::new();
        for (name, key, mut task) in under_way {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            match timeout(left, &mut task).await {
                Ok(Ok(Ok(()))) => delivered.extend(key),
                Ok(Ok(Err(error))) => {
                    self.progress.warn(format!("the notice to `{name}` was not delivered: {error}"));
                }
                Ok(Err(_)) => self.progress.warn(format!("the notice to `{name}` was not delivered")),
                Err(_) => {
                    task.abort();
                    self.progress.warn(format!(
                        "the notice to `{name}` was dropped: it was not delivered within {} s",
                        within.as_secs_f32()
                    ));
                }
            }
        }
        delivered
    }
}

#[cfg(test)]
mod tests;
