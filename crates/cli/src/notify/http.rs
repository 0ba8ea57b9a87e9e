//! Sends one request of a few kilobytes, with bounded retries.

use std::fmt;
use std::time::Duration;

/// Timeouts and retries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Timeout of an attempt: connection, request and response.
    pub(crate) attempt: Duration,
    /// Number of attempts.
    pub(crate) attempts: u32,
    /// Pause after the first attempt; doubled after each further one.
    pub(crate) pause: Duration,
    /// Maximum `Retry-After` to honour; the request is dropped if the server asks for more.
    pub(crate) longest_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            attempt: Duration::from_secs(10),
            attempts: 3,
            pause: Duration::from_secs(1),
            longest_wait: Duration::from_secs(20),
        }
    }
}

/// HTTP method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// POST.
    Post,
    /// PUT.
    Put,
}

/// A request.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: String,
    pub(crate) content_type: &'static str,
    pub(crate) body: String,
}

/// Why a request was not delivered. Never contains the URL.
#[derive(Debug, Clone)]
pub(crate) struct DeliveryError {
    reason: String,
    attempts: u32,
}

impl fmt::Display for DeliveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attempts {
            0 | 1 => f.write_str(&self.reason),
            attempts => write!(f, "{} ({attempts} attempts)", self.reason),
        }
    }
}

/// Outcome of a failed attempt.
enum Attempt {
    /// Retrying is pointless.
    Final(String),
    /// May succeed later; after this time, if the server sent one.
    Again(String, Option<Duration>),
}

/// Maximum bytes of a response to read.
const LARGEST_ANSWER: usize = 64 << 10;

/// HTTP client of a run.
#[derive(Clone)]
pub(crate) struct Http {
    client: reqwest::Client,
    limits: Limits,
}

impl Http {
    /// A client that trusts the certificate authorities of this host.
    pub(crate) fn new(limits: Limits) -> Result<Http, DeliveryError> {
        // An error means that a provider is installed already, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(limits.attempt)
            .connect_timeout(limits.attempt)
            .user_agent(concat!("dbhaul/", env!("CARGO_PKG_VERSION")))
            .build();
        let client = client.map_err(|error| DeliveryError { reason: words(error), attempts: 0 })?;
        Ok(Http { client, limits })
    }

    /// Sends the request, and retries if that may help.
    pub(crate) async fn deliver(&self, request: &Request) -> Result<(), DeliveryError> {
        let mut pause = self.limits.pause;
        for number in 1.. {
            let (reason, wanted) = match self.attempt(request).await {
                Ok(()) => return Ok(()),
                Err(Attempt::Final(reason)) => return Err(DeliveryError { reason, attempts: number }),
                Err(Attempt::Again(reason, wanted)) => (reason, wanted),
            };
            if number >= self.limits.attempts {
                return Err(DeliveryError { reason, attempts: number });
            }
            if let Some(wanted) = wanted.filter(|wanted| *wanted > self.limits.longest_wait) {
                let reason =
                    format!("{reason}, to be tried again in {} s, which is too long", wanted.as_secs());
                return Err(DeliveryError { reason, attempts: number });
            }
            tokio::time::sleep(wanted.unwrap_or_default().max(pause)).await;
            pause = pause.saturating_mul(2);
        }
        Ok(())
    }

    async fn attempt(&self, request: &Request) -> Result<(), Attempt> {
        let method = match request.method {
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
        };
        let sent = self
            .client
            .request(method, &request.url)
            .header("content-type", request.content_type)
            .body(request.body.clone())
            .send()
            .await;
        let mut answer = sent.map_err(|error| match error.is_builder() {
            true => Attempt::Final(words(error)),
            false => Attempt::Again(words(error), None),
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let header = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let header = header.and_then(|value| value.parse::<f64>().ok());
        let mut body = Vec::new();
        while let Ok(Some(piece)) = answer.chunk().await {
            if body.len() + piece.len() > LARGEST_ANSWER {
                break;
            }
            body.extend_from_slice(&piece);
        }
        let reason = format!("the server answered {status}");
        match status.as_u16() {
            429 => Err(Attempt::Again(reason, retry_after(&body).or(header).and_then(seconds))),
            408 | 500..=599 => Err(Attempt::Again(reason, header.and_then(seconds))),
            _ => Err(Attempt::Final(reason)),
        }
    }
}

/// Discord's body has a more precise time than the header.
fn retry_after(body: &[u8]) -> Option<f64> {
    serde_json::from_slice::<serde_json::Value>(body).ok()?.get("retry_after")?.as_f64()
}

fn seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

/// The message of a client error with its causes, without the URL.
fn words(error: reqwest::Error) -> String {
    let timed_out = error.is_timeout();
    let error = error.without_url();
    if timed_out {
        return "no answer in time".to_owned();
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        let reason = error.to_string();
        if !text.contains(&reason) {
            text += &format!(": {reason}");
        }
        cause = error.source();
    }
    text
}
