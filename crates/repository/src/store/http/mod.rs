//! HTTP requests to a store: each is retried until it succeeds or its time budget is spent.
//!
//! The retries of the `object_store` crate are disabled, because they cannot be bounded by time alone, repeat
//! hopeless requests, and do not cover the body of a response. Here an attempt includes request, response and body,
//! with a timeout that depends on the bytes in flight. All requests of a repository are idempotent: names are written
//! once with bytes that follow from the name, and a conditional write that meets its own object is recognized by
//! [`crate::Store::put_new`].
//!
//! No request takes effect later than the budget plus one attempt after it was first sent; prune's proof needs less
//! than the margin of an hour (see `docs/repository-format.md`).

mod fault;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt as _;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use tokio::time::{Instant, timeout};

use crate::store::upload_limit::UploadLimit;
use fault::{Fault, RequestError};

/// Default for how long a request is retried.
pub(crate) const DEFAULT_BUDGET: Duration = Duration::from_secs(180);
/// Allowed values.
pub(crate) const BUDGETS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(600);

/// Bytes per second below which a connection counts as stalled: 1 Mbit/s for all requests together.
const SLOWEST: u64 = 128 << 10;
/// Limit for a response without a limit of its own, such as a page of a listing.
const LARGEST_ANSWER: u64 = 64 << 20;
/// Limit for a response that only explains a failure.
const LARGEST_EXPLANATION: u64 = 64 << 10;
/// Maximum pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// Timeout for credentials of the machine's own role, which are available immediately or not at all.
const LINK_LOCAL_BUDGET: Duration = Duration::from_secs(20);

/// The maximum size of an object that a reader accepts, as an extension of its request: a larger one is not fetched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SizeLimit(pub(crate) u64);

/// Disables the retries of `object_store`.
pub(crate) fn no_retries() -> RetryConfig {
    RetryConfig { backoff: BackoffConfig::default(), max_retries: 0, retry_timeout: Duration::ZERO }
}

/// Settings of the connections. Timeouts are set on each attempt instead.
pub(crate) fn client_options(budget: Duration) -> ClientOptions {
    ClientOptions::new().with_timeout_disabled().with_connect_timeout(base(budget))
}

/// Maximum duration of an attempt that transfers no data: 20 s of 3 minutes.
fn base(budget: Duration) -> Duration {
    budget / 9
}

/// Creates clients that retry.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    budget: Duration,
    uploads: Arc<UploadLimit>,
}

impl Connector {
    pub(crate) fn new(budget: Duration, uploads: Arc<UploadLimit>) -> Connector {
        Connector { budget, uploads }
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(RetryingClient {
            inner: ReqwestConnector::default().connect(options)?,
            budget: self.budget,
            uploads: Arc::clone(&self.uploads),
            in_flight: Arc::default(),
            answered: AtomicBool::new(false),
        }))
    }
}

#[derive(Debug)]
struct RetryingClient {
    inner: HttpClient,
    budget: Duration,
    uploads: Arc<UploadLimit>,
    /// Bytes of all requests and responses in flight, which share one line.
    in_flight: Arc<AtomicU64>,
    /// Whether the server has ever responded.
    answered: AtomicBool,
}

/// Bytes in flight until this is dropped.
struct InFlight {
    total: Arc<AtomicU64>,
    own: u64,
}

impl InFlight {
    fn add(&mut self, bytes: u64) {
        self.own += bytes;
        self.total.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.total.fetch_sub(self.own, Ordering::Relaxed);
    }
}

#[async_trait::async_trait]
impl HttpService for RetryingClient {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let began = Instant::now();
        let local = request.uri().host().is_some_and(|host| host.starts_with("169.254."));
        let budget = if local { self.budget.min(LINK_LOCAL_BUDGET) } else { self.budget };
        let sent = request.body().content_length() as u64;
        let mut pause = Duration::ZERO;
        for attempt in 0_u32.. {
            if attempt > 0 {
                self.uploads.take(sent).await;
            }
            let fault = match self.attempt(&request, attempt).await {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            // A wrong name or port shows at the first request; a server that responded before is waited for.
            let budget = match fault.is_unreachable() && !self.answered.load(Ordering::Relaxed) {
                true => budget / 6,
                false => budget,
            };
            pause = fault.retry_after().unwrap_or_default().max(next_pause(pause, self.budget));
            if fault.is_permanent() || began.elapsed() + pause > budget {
                return Err(fault.into_error(attempt + 1, began.elapsed()));
            }
            tokio::time::sleep(pause).await;
        }
        Err(Fault::timed_out(began.elapsed()).into_error(u32::MAX, began.elapsed()))
    }
}

impl RetryingClient {
    /// The timeout of an attempt: what the bytes in flight need on a slow line, doubled each time.
    fn allowance(&self, in_flight: &InFlight, attempt: u32) -> Duration {
        let needs = |bytes: u64| Duration::from_millis(bytes.saturating_mul(1000) / SLOWEST);
        let first = base(self.budget) + needs(self.in_flight.load(Ordering::Relaxed));
        let most = self.budget + needs(in_flight.own);
        first.saturating_mul(1 << attempt.min(8)).min(most)
    }

    /// One attempt: request, response, and the response's body.
    async fn attempt(&self, request: &HttpRequest, attempt: u32) -> Result<HttpResponse, Fault> {
        let mut in_flight = InFlight { total: Arc::clone(&self.in_flight), own: 0 };
        in_flight.add(request.body().content_length() as u64);
        let allowance = self.allowance(&in_flight, attempt);
        let answer = match timeout(allowance, self.inner.execute(request.clone())).await {
            Ok(answer) => answer.map_err(Fault::transport)?,
            Err(_) => return Err(Fault::timed_out(allowance)),
        };
        self.answered.store(true, Ordering::Relaxed);
        let length = answer.headers().get("content-length");
        let length: Option<u64> = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let explains = !answer.status().is_success();
        let most = match (explains, request.extensions().get::<SizeLimit>()) {
            (true, _) => LARGEST_EXPLANATION,
            (false, Some(SizeLimit(most))) => *most,
            (false, None) => LARGEST_ANSWER,
        };
        if request.method().as_str() == "HEAD" {
            // It has the length of an object, but no body.
            return match explains {
                true => Fault::of_answer(request, answer, Bytes::new()),
                false => Ok(answer),
            };
        }
        if !explains && length.is_some_and(|length| length > most) {
            // The caller that set the limit checks the length, and does not read.
            return Ok(answer);
        }
        in_flight.add(length.unwrap_or(0).min(most));
        let allowance = self.allowance(&in_flight, attempt);
        let (head, body) = answer.into_parts();
        let reading = collect(body.bytes_stream(), most, explains);
        let bytes = match timeout(allowance, reading).await {
            Ok(bytes) => bytes?,
            Err(_) => return Err(Fault::timed_out(allowance)),
        };
        if !explains && length.is_some_and(|length| length != bytes.len() as u64) {
            return Err(Fault::cut_off(bytes.len() as u64));
        }
        Fault::of_answer(request, HttpResponse::from_parts(head, bytes.clone().into()), bytes)
    }
}

/// Reads a body up to this size. If it only explains a failure, the rest is skipped; otherwise it is an error.
async fn collect(
    mut body: futures::stream::BoxStream<'static, Result<Bytes, HttpError>>,
    most: u64,
    explains: bool,
) -> Result<Bytes, Fault> {
    let mut whole = BytesMut::new();
    while let Some(piece) = body.try_next().await.map_err(Fault::transport)? {
        let left = most.saturating_sub(whole.len() as u64);
        if piece.len() as u64 > left {
            if explains {
                break;
            }
            return Err(Fault::permanent(format!("the answer is larger than {most} bytes")));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// Exponential with jitter: up to three times the previous pause, so that hosts which failed together do not retry
/// together.
fn next_pause(before: Duration, budget: Duration) -> Duration {
    let first = budget / 900;
    let most = before.max(first).saturating_mul(3).min(LONGEST_PAUSE.min(base(budget))).max(first);
    let random = uuid::Uuid::new_v4().as_fields().0;
    first + (most - first).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

impl Fault {
    /// The response, or the fault that it reports.
    fn of_answer(request: &HttpRequest, answer: HttpResponse, body: Bytes) -> Result<HttpResponse, Fault> {
        let text = || String::from_utf8_lossy(&body);
        let status = answer.status();
        let busy = match status.as_u16() {
            408 | 429 | 500..=599 => true,
            // A connection that the server found too slow.
            400 => text().contains("<Code>RequestTimeout</Code>"),
            // A bulk deletion reports each object separately.
            200 if request.method().as_str() == "POST" => {
                text().contains("<Code>SlowDown</Code>") || text().contains("<Code>InternalError</Code>")
            }
            _ => false,
        };
        if busy {
            let after = answer.headers().get("retry-after");
            let after = after.and_then(|after| after.to_str().ok()?.parse().ok()).map(Duration::from_secs);
            return Err(Fault::busy(
                status.to_string(),
                &text(),
                after.map(|after| after.min(LONGEST_PAUSE)),
            ));
        }
        if repeats_page(request, &text()) {
            return Err(Fault::permanent(
                "the server repeats a page of the listing: it ignores continuation tokens".to_owned(),
            ));
        }
        Ok(answer)
    }
}

/// Whether a page of a listing names itself as the next one.
fn repeats_page(request: &HttpRequest, page: &str) -> bool {
    let Some(query) = request.uri().query().filter(|query| query.contains("continuation-token=")) else {
        return false;
    };
    let next = page.split("<NextContinuationToken>").nth(1).and_then(|rest| rest.split('<').next());
    let asked = url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "continuation-token");
    asked.is_some_and(|(_, asked)| Some(asked.as_ref()) == next)
}

impl From<RequestError> for HttpError {
    fn from(reported: RequestError) -> HttpError {
        HttpError::new(HttpErrorKind::Unknown, reported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_within_bounds() {
        for budget in [DEFAULT_BUDGET, Duration::from_secs(2)] {
            let (mut pause, mut sum, mut count) = (Duration::ZERO, Duration::ZERO, 0);
            while sum < budget {
                pause = next_pause(pause, budget);
                assert!(pause >= budget / 900 && pause <= LONGEST_PAUSE.min(base(budget)), "{pause:?}");
                sum += pause;
                count += 1;
            }
            // Neither a storm of requests nor a single one.
            assert!((8..300).contains(&count), "{count} attempts in {budget:?}");
        }
    }

    #[test]
    fn an_attempt_is_allowed_what_its_bytes_need() {
        let client = RetryingClient {
            inner: HttpClient::new(NoServer),
            budget: DEFAULT_BUDGET,
            uploads: Arc::default(),
            in_flight: Arc::default(),
            answered: AtomicBool::new(false),
        };
        let mut small = InFlight { total: Arc::clone(&client.in_flight), own: 0 };
        let seconds = |flight: &InFlight, attempt| client.allowance(flight, attempt).as_secs();
        small.add(1 << 20);
        assert_eq!((seconds(&small, 0), seconds(&small, 1)), (28, 56));
        // A stalled request is retried within the budget, even while all chunks of a run are in flight.
        let mut others = InFlight { total: Arc::clone(&client.in_flight), own: 0 };
        others.add(15 << 20);
        assert!(client.allowance(&small, 0) < DEFAULT_BUDGET);
        drop(others);
        // No attempt outlasts the hour that prune allows for, not even for the largest document.
        small.add(255 << 20);
        assert!(client.allowance(&small, 8) + DEFAULT_BUDGET < Duration::from_secs(3600));
        drop(small);
        assert_eq!(client.in_flight.load(Ordering::Relaxed), 0);
    }

    #[derive(Debug)]
    struct NoServer;

    #[async_trait::async_trait]
    impl HttpService for NoServer {
        async fn call(&self, _: HttpRequest) -> Result<HttpResponse, HttpError> {
            Err(RequestError::new("no server".to_owned()).into())
        }
    }
}
