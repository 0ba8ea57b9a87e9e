//! Why an attempt failed, and whether another one can succeed.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use object_store::client::{HttpError, HttpErrorKind};

/// Messages of resolvers for a name that does not exist; those for failures of the resolver differ.
const NO_SUCH_NAME: [&str; 4] = [
    "Name or service not known",
    "No address associated with hostname",
    "Name does not resolve",
    "nodename nor servname provided, or not known",
];

/// The error of a request, as text.
#[derive(Debug)]
pub(super) struct RequestError(String);

impl RequestError {
    pub(super) fn new(text: String) -> RequestError {
        RequestError(text)
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for RequestError {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Another attempt may succeed.
    Transient,
    /// No connection could be established.
    Unreachable,
    /// No attempt can succeed.
    Permanent,
}

/// A failed attempt.
#[derive(Debug)]
pub(super) struct Fault {
    kind: Kind,
    text: String,
    /// How long the server asks to wait.
    pause: Option<Duration>,
}

impl Fault {
    fn of(kind: Kind, text: String) -> Fault {
        Fault { kind, text, pause: None }
    }

    /// A permanent failure.
    pub(super) fn permanent(text: String) -> Fault {
        Fault::of(Kind::Permanent, text)
    }

    /// No data arrived for this long.
    pub(super) fn timed_out(after: Duration) -> Fault {
        Fault::of(Kind::Transient, format!("the server did not answer within {:.1} s", after.as_secs_f64()))
    }

    /// The body ended before its length.
    pub(super) fn cut_off(at: u64) -> Fault {
        Fault::of(Kind::Transient, format!("the answer was cut off after {at} bytes"))
    }

    /// A status that means that the server could not do it now.
    pub(super) fn busy(status: String, body: &str, pause: Option<Duration>) -> Fault {
        let inside = |tag: &str| {
            let rest = body.split_once(&format!("<{tag}>"))?.1;
            rest.split_once("</").map(|(text, _)| text.chars().take(200).collect::<String>())
        };
        let said: Vec<String> = ["Code", "Message"].into_iter().filter_map(inside).collect();
        let said = if said.is_empty() { String::new() } else { format!(" ({})", said.join(": ")) };
        Fault { pause, ..Fault::of(Kind::Transient, format!("the server answered {status}{said}")) }
    }

    /// The connection failed.
    pub(super) fn transport(error: HttpError) -> Fault {
        let root = root_cause(&error);
        if is_certificate(&error) {
            return Fault::permanent(format!(
                "the TLS connection was refused: {root}; retrying does not help: check the endpoint's host name, \
                 this host's clock and its certificate authorities"
            ));
        }
        if NO_SUCH_NAME.iter().any(|said| root.contains(said)) {
            return Fault::permanent(format!("the host name does not exist: {root}; check the endpoint"));
        }
        let kind = match error.kind() {
            HttpErrorKind::Connect => Kind::Unreachable,
            _ => Kind::Transient,
        };
        Fault::of(kind, format!("the connection failed: {root}"))
    }

    pub(super) fn is_permanent(&self) -> bool {
        self.kind == Kind::Permanent
    }

    pub(super) fn is_unreachable(&self) -> bool {
        self.kind == Kind::Unreachable
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.pause
    }

    /// The error of the request.
    pub(super) fn into_error(self, attempts: u32, elapsed: Duration) -> HttpError {
        let text = match self.kind {
            Kind::Permanent => self.text,
            _ => {
                let (s, seconds) = (if attempts == 1 { "" } else { "s" }, elapsed.as_secs_f64());
                format!("gave up after {attempts} attempt{s} in {seconds:.1} s: {}", self.text)
            }
        };
        RequestError::new(text).into()
    }
}

/// All errors of a chain. An I/O error reports the source of its inner error as its own, and skips the inner error.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'a (dyn StdError + 'static) = *error;
        match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        }
    })
}

fn root_cause(error: &(dyn StdError + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

/// Whether TLS was spoken, but certificate or protocol were not accepted.
fn is_certificate(error: &(dyn StdError + 'static)) -> bool {
    chain(error).filter_map(|cause| cause.downcast_ref::<rustls::Error>()).any(|error| {
        !matches!(
            error,
            rustls::Error::General(_) | rustls::Error::DecryptError | rustls::Error::PeerSentOversizedRecord
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn io(inner: impl StdError + Send + Sync + 'static) -> std::io::Error {
        std::io::Error::other(inner)
    }

    #[test]
    fn a_certificate_is_found_through_every_wrapping() {
        let refused = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let error = HttpError::new(HttpErrorKind::Connect, io(io(refused)));
        let fault = Fault::transport(error);
        assert!(fault.is_permanent() && fault.text.contains("UnknownIssuer"), "{fault:?}");
        let reset =
            HttpError::new(HttpErrorKind::Connect, std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        assert!(!Fault::transport(reset).is_permanent());
    }

    #[test]
    fn an_unknown_name_is_distinguished_from_a_failing_resolver() {
        let said = |text: &'static str| {
            Fault::transport(HttpError::new(HttpErrorKind::Connect, io(RequestError::new(text.to_owned()))))
        };
        assert!(said("failed to lookup address information: Name or service not known").is_permanent());
        assert!(
            !said("failed to lookup address information: Temporary failure in name resolution")
                .is_permanent()
        );
    }

    #[test]
    fn the_message_of_a_busy_server_is_shown() {
        let body = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
        let fault = Fault::busy("503 Service Unavailable".to_owned(), body, None);
        let said = fault.into_error(7, Duration::from_secs(181)).to_string();
        assert!(said.contains("gave up after 7 attempts in 181.0 s"), "{said}");
        assert!(
            said.contains("503 Service Unavailable (SlowDown: Please reduce your request rate.)"),
            "{said}"
        );
    }
}
