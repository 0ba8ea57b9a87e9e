//! A dead man's switch with the protocol of healthchecks.io: `/start` when a run begins, the bare URL when it
//! succeeds, `/<exit code>` when it fails. The service alerts if nothing arrives, which covers a dead host.

use tokio::task::JoinHandle;

use super::http::{DeliveryError, Http, Method, Request};

/// Maximum body size that such services store.
const LARGEST_BODY: usize = 100_000;

/// A switch, for one run.
pub(super) struct Switch {
    name: String,
    url: String,
    run: uuid::Uuid,
    http: Http,
    start: JoinHandle<Result<(), DeliveryError>>,
}

impl Switch {
    /// Sends the start of a run. `run` is the id that connects both pings.
    pub(super) fn start(name: &str, url: &str, run: uuid::Uuid, http: Http) -> Switch {
        let (client, request) = (http.clone(), ping(url, "/start", run, ""));
        let start = tokio::spawn(async move { client.deliver(&request).await });
        Switch { name: name.to_owned(), url: url.to_owned(), run, http, start }
    }

    /// Sends the outcome. A start that was not delivered yet is cancelled, so that it cannot arrive after the end.
    pub(super) fn finish(self, exit_code: u8, text: &str) -> (String, JoinHandle<Result<(), DeliveryError>>) {
        self.start.abort();
        let path = if exit_code == 0 { String::new() } else { format!("/{exit_code}") };
        let (http, request) = (self.http, ping(&self.url, &path, self.run, text));
        (self.name, tokio::spawn(async move { http.deliver(&request).await }))
    }
}

/// A log entry.
pub(super) fn log(url: &str, text: &str) -> Request {
    ping(url, "/log", uuid::Uuid::new_v4(), text)
}

fn ping(url: &str, path: &str, run: uuid::Uuid, text: &str) -> Request {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let join = if query.is_empty() { "" } else { "&" };
    let mut body = text;
    while body.len() > LARGEST_BODY {
        let end = (0..=LARGEST_BODY).rev().find(|end| body.is_char_boundary(*end)).unwrap_or(0);
        body = body.get(..end).unwrap_or_default();
    }
    Request {
        method: Method::Post,
        url: format!("{}{path}?{query}{join}rid={run}", base.trim_end_matches('/')),
        content_type: "text/plain; charset=utf-8",
        body: body.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_follows_the_protocol() {
        let run = uuid::Uuid::nil();
        let of = |url, path| ping(url, path, run, "").url;
        assert_eq!(of("https://hc/x", "/start"), format!("https://hc/x/start?rid={run}"));
        assert_eq!(of("https://hc/x/", ""), format!("https://hc/x?rid={run}"));
        assert_eq!(of("https://hc/x?create=1", "/4"), format!("https://hc/x/4?create=1&rid={run}"));
        assert_eq!(ping("http://h", "", run, &"가".repeat(60_000)).body.len(), 99_999);
    }
}
