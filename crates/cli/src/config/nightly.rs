//! `[nightly]`, `[[notify]]` and `[metrics]`: what `dbhaul nightly` does besides the backup, and whom it notifies.

use std::path::{Path, PathBuf};

use chrono::{NaiveTime, TimeDelta, Weekday};
use serde::{Deserialize, Serialize};

use super::secret::Places;
use super::units::{Sample, Share, Span, TimeOfDay, TimeOfWeek};
use super::{ConfigError, Secrets};

/// `[nightly]`
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct NightlyConfig {
    pub(crate) at: TimeOfDay,
    pub(crate) rehearse_at: TimeOfWeek,
    pub(crate) check_after: Sample,
    pub(crate) alert_shrink: Share,
    pub(crate) alert_shrink_except: Vec<String>,
    pub(crate) stale_after: Span,
    pub(crate) state_dir: Option<PathBuf>,
}

impl Default for NightlyConfig {
    fn default() -> Self {
        NightlyConfig {
            at: TimeOfDay(NaiveTime::from_hms_opt(3, 5, 0).unwrap_or_default()),
            rehearse_at: TimeOfWeek {
                day: Weekday::Sun,
                time: NaiveTime::from_hms_opt(4, 30, 0).unwrap_or_default(),
            },
            check_after: Sample(Some(repository::Portion::BasisPoints(500))),
            alert_shrink: Share(Some(0.5)),
            alert_shrink_except: Vec::new(),
            stale_after: Span(TimeDelta::hours(36)),
            state_dir: None,
        }
    }
}

/// Event that a notice reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Occasion {
    /// A run failed, or some of its sources did.
    Failure,
    /// A run succeeded after one that did not.
    Recovered,
    /// The newest backup of a source is too old.
    Stale,
    /// The backup differs suspiciously from the one before.
    Suspicious,
    /// Every run, whatever its outcome.
    Always,
}

impl Occasion {
    /// Name in the configuration and in notices.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Occasion::Failure => "failure",
            Occasion::Recovered => "recovered",
            Occasion::Stale => "stale",
            Occasion::Suspicious => "suspicious",
            Occasion::Always => "always",
        }
    }
}

/// Protocol of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ChannelKind {
    /// A Discord webhook.
    Discord,
    /// A Slack incoming webhook.
    Slack,
    /// JSON to any URL.
    Webhook,
    /// A dead man's switch: start, success and failure of every run.
    Healthchecks,
}

impl ChannelKind {
    /// Name in the configuration.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ChannelKind::Discord => "discord",
            ChannelKind::Slack => "slack",
            ChannelKind::Webhook => "webhook",
            ChannelKind::Healthchecks => "healthchecks",
        }
    }
}

/// `[[notify]]`
#[derive(Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct NotifyConfig {
    pub(crate) kind: ChannelKind,
    #[serde(default)]
    pub(crate) name: Option<String>,
    #[serde(default)]
    pub(crate) url: Option<String>,
    #[serde(default)]
    pub(crate) url_file: Option<PathBuf>,
    #[serde(default)]
    pub(crate) url_command: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) on: Option<Vec<Occasion>>,
    #[serde(default)]
    pub(crate) repeat_after: Option<Span>,
}

/// The URL is a secret.
impl std::fmt::Debug for NotifyConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NotifyConfig")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl NotifyConfig {
    /// The events it is notified of by default.
    pub(crate) const DEFAULT_ON: [Occasion; 4] =
        [Occasion::Failure, Occasion::Recovered, Occasion::Stale, Occasion::Suspicious];

    /// Name in messages.
    pub(crate) fn shown(&self) -> &str {
        self.name.as_deref().unwrap_or(self.kind.as_str())
    }

    /// The events it is notified of.
    pub(crate) fn occasions(&self) -> &[Occasion] {
        self.on.as_deref().unwrap_or(&Self::DEFAULT_ON)
    }

    /// How long a notice of the same event is not repeated.
    pub(crate) fn quiet_for(&self) -> TimeDelta {
        self.repeat_after.map_or(TimeDelta::hours(1), |span| span.0)
    }

    /// The URL, from whichever of its three keys is set.
    pub(crate) fn resolve_url(&self, folder: &Path, secrets: &Secrets) -> Result<String, ConfigError> {
        let what = format!("notify `{}`, url", self.shown());
        let places = Places {
            key: what.clone(),
            text: self.url.as_deref(),
            file: self.url_file.as_deref(),
            command: self.url_command.as_deref(),
        };
        let url = places.resolve(folder, secrets)?.unwrap_or_default().trim().to_owned();
        match url.starts_with("https://") || url.starts_with("http://") {
            true => Ok(url),
            false => {
                Err(ConfigError::Secret { what, message: "it is not an http:// or https:// URL".to_owned() })
            }
        }
    }

    /// Checks for keys that do not fit together.
    pub(super) fn misplaced(&self) -> Option<String> {
        let given = [self.url.is_some(), self.url_file.is_some(), self.url_command.is_some()];
        match given.iter().filter(|given| **given).count() {
            0 => Some(format!("notify `{}` sets none of url, url-file and url-command", self.shown())),
            1 if self.kind == ChannelKind::Healthchecks && self.on.is_some() => Some(format!(
                "notify `{}` is of kind healthchecks, which is notified about every run: `on` does not apply",
                self.shown()
            )),
            1 => None,
            _ => {
                Some(format!("notify `{}` sets more than one of url, url-file and url-command", self.shown()))
            }
        }
    }
}

/// `[metrics]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct MetricsConfig {
    pub(crate) textfile: Option<PathBuf>,
    pub(crate) pushgateway: Option<String>,
}
