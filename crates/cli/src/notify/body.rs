//! Bodies of notices in each protocol.

use chrono::{DateTime, Utc};
use serde_json::json;

use super::http::{Method, Request};
use crate::config::{ChannelKind, Occasion};

/// Discord rejects a longer message; it counts UTF-16 units.
const DISCORD_LIMIT: usize = 2000;
/// Slack truncates a longer message.
const SLACK_LIMIT: usize = 10_000;

/// The content of a notice about one run.
#[derive(Debug, Clone)]
pub(crate) struct Notice {
    /// The job.
    pub(crate) job: String,
    /// Host that it ran on.
    pub(crate) host: String,
    /// When it ended.
    pub(crate) at: DateTime<Utc>,
    /// Events; empty if all is well.
    pub(crate) occasions: Vec<Occasion>,
    /// Exit code of the run.
    pub(crate) exit_code: u8,
    /// Text for people; the first line is the summary.
    pub(crate) text: String,
    /// The report of the run, for programs.
    pub(crate) report: serde_json::Value,
}

impl Notice {
    pub(super) fn request(&self, kind: ChannelKind, url: &str) -> Request {
        let body = match kind {
            // Mentions are disabled: a table's name must not notify users.
            ChannelKind::Discord => {
                json!({ "content": cut(&self.text, DISCORD_LIMIT), "allowed_mentions": { "parse": [] } })
            }
            ChannelKind::Slack => json!({ "text": cut(&escaped(&self.text), SLACK_LIMIT) }),
            ChannelKind::Webhook | ChannelKind::Healthchecks => json!({
                "tool": concat!("dbhaul ", env!("CARGO_PKG_VERSION")),
                "job": self.job,
                "host": self.host,
                "at": self.at,
                "occasions": self.occasions,
                "exit-code": self.exit_code,
                "text": self.text,
                "report": self.report,
            }),
        };
        Request {
            method: Method::Post,
            url: url.to_owned(),
            content_type: "application/json",
            body: body.to_string(),
        }
    }
}

/// Escapes Slack's control characters.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Truncates a text to at most this many UTF-16 units, with an ellipsis.
fn cut(text: &str, limit: usize) -> String {
    if text.encode_utf16().count() <= limit {
        return text.to_owned();
    }
    let mut units = 0;
    let fits = |c: &char| {
        units += c.len_utf16();
        units < limit
    };
    let mut short: String = text.chars().take_while(fits).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_to_what_discord_takes() {
        assert_eq!(cut("short", 2000), "short");
        for text in ["가".repeat(5000), "😀".repeat(5000), "a".repeat(2001)] {
            let short = cut(&text, DISCORD_LIMIT);
            let units = short.encode_utf16().count();
            assert!((1999..=2000).contains(&units) && short.ends_with('…'), "{units}");
        }
        assert_eq!(cut(&"a".repeat(2000), DISCORD_LIMIT).len(), 2000);
    }
}
