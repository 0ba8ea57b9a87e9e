//! S3 servers that refuse, stall, disconnect, truncate, repeat themselves or cannot be trusted: transient failures
//! are retried within the budget, and permanent ones are reported at once.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::common::{data, read, small, try_snapshot, write_snapshot};
use crate::s3_server::env;
use repository::{Access, CheckOptions, Error, Repository, Store};

/// A failure instead of a response.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Answered with this status and S3's code for it; nothing is done.
    Status(&'static str, &'static str),
    /// The connection is closed without an answer; what was asked is done.
    HangUp,
    /// Nothing is answered.
    Stall,
    /// The answer ends in the middle of its body.
    CutOff,
    /// The answer's body stops coming in the middle.
    StallInBody,
    /// The first page of a listing, whichever was asked for.
    FirstPage,
    /// The same, but under a new token each time.
    FirstPageNewToken,
}

/// A request as a fault is chosen by.
struct Request {
    method: String,
    /// Path and query.
    target: String,
    /// How many came before it.
    number: usize,
}

type Choose = dyn Fn(&Request) -> Fault + Send + Sync;

/// As much of S3 as a repository needs: objects in memory, pages of three.
struct Server {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    requests: AtomicUsize,
    faults: AtomicUsize,
    choose: Mutex<Arc<Choose>>,
}

const PAGE: usize = 3;

impl Server {
    fn new() -> Arc<Server> {
        Arc::new(Server {
            objects: Mutex::default(),
            requests: AtomicUsize::new(0),
            faults: AtomicUsize::new(0),
            choose: Mutex::new(Arc::new(|_| Fault::None)),
        })
    }

    async fn start() -> (Arc<Server>, String) {
        let server = Server::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let serving = Arc::clone(&server);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let server = Arc::clone(&serving);
                tokio::spawn(async move { server.serve(socket).await });
            }
        });
        (server, endpoint)
    }

    fn fail(&self, choose: impl Fn(&Request) -> Fault + Send + Sync + 'static) {
        *self.choose.lock().unwrap() = Arc::new(choose);
        self.requests.store(0, Ordering::SeqCst);
        self.faults.store(0, Ordering::SeqCst);
    }

    fn faults(&self) -> usize {
        self.faults.load(Ordering::SeqCst)
    }

    /// One request a connection.
    async fn serve(&self, mut socket: impl AsyncRead + AsyncWrite + Unpin) {
        let Some((head, body)) = receive(&mut socket).await else { return };
        let mut words = head.split_whitespace();
        let (method, target) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        let request = Request { method, target, number };
        let choose = Arc::clone(&self.choose.lock().unwrap());
        let fault = choose(&request);
        if fault != Fault::None {
            self.faults.fetch_add(1, Ordering::SeqCst);
        }
        let (mut status, mut answer) = match fault {
            Fault::Status(status, code) => {
                let message = "<Message>Please reduce your request rate.</Message>";
                (status.to_owned(), format!("<Error><Code>{code}</Code>{message}</Error>").into_bytes())
            }
            Fault::Stall => return tokio::time::sleep(Duration::from_secs(3600)).await,
            _ => self.answer(&request, &head, body, fault),
        };
        if fault == Fault::HangUp {
            return;
        }
        if let Some(rest) = status.strip_prefix("HEAD ") {
            (status, answer) = (rest.to_owned(), Vec::new());
        } else {
            let _ = write!(status, "\r\ncontent-length: {}", answer.len());
        }
        let head = format!(
            "HTTP/1.1 {status}\r\netag: \"e\"\r\nlast-modified: Sat, 28 Nov 2026 00:00:00 GMT\r\nconnection: close\r\n\r\n"
        );
        let _ = socket.write_all(head.as_bytes()).await;
        let cut = matches!(fault, Fault::CutOff | Fault::StallInBody);
        let sent = if cut { answer.len() / 2 } else { answer.len() };
        let _ = socket.write_all(&answer[..sent]).await;
        let _ = socket.flush().await;
        if fault == Fault::StallInBody {
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
        let _ = socket.shutdown().await;
    }

    fn answer(&self, request: &Request, head: &str, body: Vec<u8>, fault: Fault) -> (String, Vec<u8>) {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let key = path.trim_start_matches("/backups").trim_start_matches('/').to_owned();
        let mut objects = self.objects.lock().unwrap();
        let missing = || ("404 Not Found".to_owned(), b"<Error><Code>NoSuchKey</Code></Error>".to_vec());
        match request.method.as_str() {
            "PUT" if head.to_ascii_lowercase().contains("if-none-match: *") && objects.contains_key(&key) => {
                ("412 Precondition Failed".to_owned(), Vec::new())
            }
            "PUT" => {
                objects.insert(key, body);
                ("200 OK".to_owned(), Vec::new())
            }
            "DELETE" => {
                objects.remove(&key);
                ("204 No Content".to_owned(), Vec::new())
            }
            "HEAD" => match objects.get(&key) {
                Some(bytes) => (format!("HEAD 200 OK\r\ncontent-length: {}", bytes.len()), Vec::new()),
                None => ("HEAD 404 Not Found\r\ncontent-length: 0".to_owned(), Vec::new()),
            },
            _ if key.is_empty() => {
                let query: BTreeMap<_, _> =
                    url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
                let prefix = query.get("prefix").cloned().unwrap_or_default();
                let ignored = matches!(fault, Fault::FirstPage | Fault::FirstPageNewToken);
                let from = query.get("continuation-token").filter(|_| !ignored).cloned().unwrap_or_default();
                let found: Vec<_> =
                    objects.iter().filter(|(key, _)| key.starts_with(&prefix) && **key >= from).collect();
                let mut page = "<ListBucketResult>".to_owned();
                for (key, bytes) in found.iter().take(PAGE) {
                    let at = "<LastModified>2026-11-28T00:00:00.000Z</LastModified>";
                    let size = bytes.len();
                    let _ = write!(
                        page,
                        "<Contents><Key>{key}</Key>{at}<Size>{size}</Size><ETag>\"e\"</ETag></Contents>"
                    );
                }
                if let Some((next, _)) = found.get(PAGE) {
                    let next = match fault {
                        Fault::FirstPageNewToken => format!("{next}-{}", request.number),
                        _ => (*next).clone(),
                    };
                    let _ = write!(
                        page,
                        "<IsTruncated>true</IsTruncated><NextContinuationToken>{next}</NextContinuationToken>"
                    );
                } else {
                    page += "<IsTruncated>false</IsTruncated>";
                }
                ("200 OK".to_owned(), (page + "</ListBucketResult>").into_bytes())
            }
            _ => objects.get(&key).map_or_else(missing, |bytes| ("200 OK".to_owned(), bytes.clone())),
        }
    }
}

/// A request: its head, and its body.
async fn receive(socket: &mut (impl AsyncRead + Unpin)) -> Option<(String, Vec<u8>)> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 16 << 10]);
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let lower = head.to_ascii_lowercase();
            let length =
                lower.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
            if bytes.len() >= end + 4 + length.unwrap_or(0) {
                return Some((head, bytes.split_off(end + 4)));
            }
        }
        match socket.read(&mut piece).await {
            Ok(n) if n > 0 => bytes.extend_from_slice(&piece[..n]),
            _ => return None,
        }
    }
}

fn store(endpoint: &str, budget: &str) -> Store {
    let url = format!("s3://backups/p?endpoint={endpoint}&region=r&retry-timeout={budget}");
    Store::open(&url, &env("right-secret")).unwrap()
}

async fn check(repo: &Repository) -> Result<repository::CheckReport, Error> {
    repo.check(&CheckOptions { read_data: true, now: chrono::Utc::now() }).await
}

/// A whole life of a repository while of every four requests three fail, each in its own way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_passes_is_waited_for() {
    let (server, endpoint) = Server::start().await;
    let repo = Repository::init(store(&endpoint, "20s"), &small()).await.unwrap();
    let faults = [
        Fault::Status("503 Slow Down", "SlowDown"),
        Fault::Status("500 Internal Server Error", "InternalError"),
        Fault::Status("400 Bad Request", "RequestTimeout"),
        Fault::Status("429 Too Many Requests", "TooManyRequests"),
        Fault::HangUp,
        Fault::CutOff,
    ];
    server.fail(move |request| match request.number % 8 {
        6 | 7 => Fault::None,
        // A cut body can only be of an answer that has one.
        5 if request.method != "GET" => Fault::HangUp,
        at => faults[at],
    });
    let bytes = data(1, 40_000);
    let first = write_snapshot(&repo, "nightly", &[("a", &bytes)]).await;
    assert_eq!(read(&repo, &first, "a").await.unwrap(), bytes);
    let report = check(&repo).await.unwrap();
    assert!(report.passed() && report.whole == [first.id], "{report}");
    assert!(server.faults() > 60, "only {} faults", server.faults());
}

/// A request that stalls is tried again within the budget: put, get and list, and an answer that stops in its body.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_request_is_tried_again() {
    let (server, endpoint) = Server::start().await;
    let repo = Repository::init(store(&endpoint, "9s"), &small()).await.unwrap();
    let bytes = data(1, 6_000);
    let stalled = Arc::new(Mutex::new(std::collections::HashSet::new()));
    server.fail(move |request| {
        let kind = match (request.method.as_str(), request.target.contains("list-type")) {
            (_, true) => "list",
            ("PUT", _) => "put",
            ("GET", _) => "get",
            _ => return Fault::None,
        };
        let mut stalled = stalled.lock().unwrap();
        match (stalled.insert(kind), kind) {
            (true, _) => Fault::Stall,
            (false, "get" | "list")
                if stalled.insert(if kind == "get" { "get's body" } else { "list's" }) =>
            {
                Fault::StallInBody
            }
            _ => Fault::None,
        }
    });
    let began = Instant::now();
    let first = write_snapshot(&repo, "nightly", &[("a", &bytes)]).await;
    assert_eq!(read(&repo, &first, "a").await.unwrap(), bytes);
    assert_eq!(server.faults(), 5);
    assert!(began.elapsed() > Duration::from_secs(4), "each took its time-out");
}

/// The budget is one of time: it is used up, and not much more, and the error says what was met.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_budget_is_used_and_kept() {
    let (server, endpoint) = Server::start().await;
    Repository::init(store(&endpoint, "3s"), &small()).await.unwrap();
    for (fault, said) in [
        (
            Fault::Status("503 Slow Down", "SlowDown"),
            "503 Service Unavailable (SlowDown: Please reduce your request rate.)",
        ),
        (Fault::Stall, "did not answer within"),
        (Fault::CutOff, "the connection failed"),
        (Fault::HangUp, "the connection failed"),
    ] {
        server.fail(move |_| fault);
        let began = Instant::now();
        let error = Repository::open(store(&endpoint, "3s")).await.unwrap_err().to_string();
        let took = began.elapsed();
        assert!(error.contains("gave up after") && error.contains(said), "{fault:?}: {error}");
        assert!(took > Duration::from_millis(1500) && took < Duration::from_secs(12), "{fault:?}: {took:?}");
        let least = if fault == Fault::Stall { 2 } else { 8 };
        assert!((least..200).contains(&server.faults()), "{fault:?}: {} attempts", server.faults());
    }
}

/// A lost answer to a conditional write: the writer meets its own object, and knows it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_whose_answer_was_lost_is_committed_once() {
    let (server, endpoint) = Server::start().await;
    let repo = Repository::init(store(&endpoint, "20s"), &small()).await.unwrap();
    let lost = AtomicUsize::new(0);
    server.fail(move |request| {
        let manifest = request.method == "PUT" && request.target.contains("/snapshots/");
        if manifest && lost.fetch_add(1, Ordering::SeqCst) < 2 { Fault::HangUp } else { Fault::None }
    });
    let first = try_snapshot(&repo, "nightly", &[("a", &data(1, 3_000))]).await.unwrap();
    assert_eq!(server.faults(), 2);
    assert_eq!(repo.headers().await.unwrap().headers.len(), 1);
    assert_eq!(repo.find("latest").await.unwrap().id, first.id);
}

/// Permanent failures are not retried.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_credentials_and_unknown_names_fail_at_once() {
    let (server, endpoint) = Server::start().await;
    Repository::init(store(&endpoint, "60s"), &small()).await.unwrap();
    for (status, code) in [("403 Forbidden", "AccessDenied"), ("401 Unauthorized", "InvalidAccessKeyId")] {
        server.fail(move |_| Fault::Status(status, code));
        let error = Repository::open(store(&endpoint, "60s")).await.unwrap_err().to_string();
        assert!(error.contains(code) && error.contains("not retried"), "{error}");
        assert_eq!(server.faults(), 1, "{code}");
    }
    let began = Instant::now();
    let error =
        Repository::open(store("http://no-such-host.invalid:9", "24s")).await.unwrap_err().to_string();
    // Without any resolver, the failure may be transient and is retried for a sixth of the budget.
    assert!(error.contains("does not exist") || error.contains("gave up"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(20));
    // Nothing ever listened there: a sixth of the budget.
    let began = Instant::now();
    let error = Repository::open(store("http://127.0.0.1:1", "12s")).await.unwrap_err().to_string();
    assert!(error.contains("refused") && began.elapsed() < Duration::from_secs(8), "{error}");
}

/// Listings that never end: the page that names itself as the next, and pages that come again under new tokens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cyclic_listing_is_an_error() {
    let (server, endpoint) = Server::start().await;
    let repo = Repository::init(store(&endpoint, "20s"), &small()).await.unwrap();
    let bytes = data(1, 60_000);
    write_snapshot(&repo, "nightly", &[("a", &bytes)]).await;
    assert!(check(&repo).await.unwrap().passed(), "several pages, as they should be");
    for fault in [Fault::FirstPage, Fault::FirstPageNewToken] {
        server.fail(move |request| if request.target.contains("list-type") { fault } else { Fault::None });
        let checked =
            tokio::time::timeout(Duration::from_secs(20), check(&repo)).await.expect("an endless loop");
        let error = checked.unwrap_err().to_string();
        assert!(error.contains("continuation tokens"), "{fault:?}: {error}");
        assert!(server.faults() < 10, "{fault:?}: {}", server.faults());
    }
}

/// An untrusted certificate does not become trusted by waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_not_trusted_fails_at_once() {
    let Some((certificate, key)) = certificate() else { return };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let server = Server::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            if let Ok(socket) = acceptor.accept(socket).await {
                server.serve(socket).await;
            }
        }
    });
    let began = Instant::now();
    let opened = Repository::open_with(store(&endpoint, "60s"), &Access::default()).await;
    let error = opened.unwrap_err().to_string();
    assert!(error.contains("certificate") && error.contains("retrying does not help"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(9) && connections.load(Ordering::SeqCst) == 1, "{error}");
}

/// A self-signed certificate for 127.0.0.1.
fn certificate()
-> Option<(rustls::pki_types::CertificateDer<'static>, rustls::pki_types::PrivateKeyDer<'static>)> {
    use rustls::pki_types::pem::PemObject as _;
    let folder = tempfile::tempdir().unwrap();
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=nobody"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .current_dir(folder.path())
        .output();
    let Ok(made) = made else {
        assert!(std::env::var_os("DBHAUL_REQUIRE_SERVERS").is_none(), "openssl is missing");
        #[allow(clippy::print_stderr)]
        {
            eprintln!("SKIPPED: there is no openssl here to make a certificate with");
        }
        return None;
    };
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let file = |name: &str| folder.path().join(name);
    let certificate = rustls::pki_types::CertificateDer::from_pem_file(file("cert.pem")).unwrap();
    Some((certificate, rustls::pki_types::PrivateKeyDer::from_pem_file(file("key.pem")).unwrap()))
}
