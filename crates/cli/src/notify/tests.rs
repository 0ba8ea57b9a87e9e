//! Tests against a server with the faults of real ones.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// What the server does with the next request.
#[derive(Debug, Clone, Copy)]
enum Answer {
    /// Send this status and body.
    Status(u16, &'static str),
    /// Never answer.
    Hang,
    /// Close the connection in the middle of the answer.
    Reset,
}

struct Server {
    url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Gives these answers, and 200 afterwards.
    async fn start(answers: &[Answer]) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://127.0.0.1:{}/hooks/s3cret", listener.local_addr().unwrap().port());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let answers = Arc::new(Mutex::new(answers.to_vec()));
        let noted = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (noted, answers) = (Arc::clone(&noted), Arc::clone(&answers));
                tokio::spawn(async move {
                    let mut read = Vec::new();
                    let mut buffer = [0; 65536];
                    loop {
                        let n = stream.read(&mut buffer).await.unwrap_or(0);
                        read.extend_from_slice(&buffer[..n]);
                        let text = String::from_utf8_lossy(&read).into_owned();
                        let Some((head, body)) = text.split_once("\r\n\r\n") else {
                            if n == 0 { return } else { continue }
                        };
                        let length = head.lines().find_map(|line| {
                            line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok()
                        });
                        if body.len() >= length.unwrap_or(0) || n == 0 {
                            noted.lock().unwrap().push(text);
                            break;
                        }
                    }
                    match next(&answers) {
                        Answer::Status(status, body) => {
                            let length = body.len();
                            let text = format!(
                                "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
                            );
                            let _ = stream.write_all(text.as_bytes()).await;
                        }
                        Answer::Hang => tokio::time::sleep(Duration::from_secs(60)).await,
                        Answer::Reset => drop(stream),
                    }
                });
            }
        });
        Server { url, seen }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn next(answers: &Mutex<Vec<Answer>>) -> Answer {
    let mut left = answers.lock().unwrap();
    if left.is_empty() { Answer::Status(200, "ok") } else { left.remove(0) }
}

/// Collects warnings.
#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl crate::ui::Show for Log {
    fn show(&self, event: &crate::ui::Event<'_>) {
        if let crate::ui::Event::Warning(text) = event {
            self.0.lock().unwrap().push((*text).to_owned());
        }
    }
}

fn quick() -> Limits {
    Limits {
        attempt: Duration::from_millis(300),
        attempts: 3,
        pause: Duration::from_millis(10),
        longest_wait: Duration::from_millis(500),
    }
}

fn channel(kind: ChannelKind, url: &str, occasions: &[Occasion]) -> Channel {
    Channel {
        name: kind.as_str().to_owned(),
        kind,
        url: url.to_owned(),
        occasions: occasions.to_vec(),
        quiet_for: TimeDelta::hours(1),
    }
}

fn notice(occasions: &[Occasion], exit_code: u8) -> Notice {
    Notice {
        job: "app".to_owned(),
        host: "vm".to_owned(),
        at: Utc::now(),
        occasions: occasions.to_vec(),
        exit_code,
        text: format!("dbhaul app: FAILED <b> {}", "x".repeat(3000)),
        report: serde_json::json!({ "n": 1 }),
    }
}

/// Sends one notice to a server with these answers. Returns the requests, the warnings, and whether it was delivered.
async fn send(kind: ChannelKind, answers: &[Answer]) -> (Vec<String>, Vec<String>, bool) {
    let server = Server::start(answers).await;
    let log = Arc::new(Log::default());
    let progress = Progress::shown_by(log.clone());
    let configured = channel(kind, &server.url, &[Occasion::Failure]);
    let notifier = Notifier::start(vec![configured], quick(), &progress);
    let delivered = notifier.finish(&notice(&[Occasion::Failure], 4), |_| None, Duration::from_secs(2)).await;
    let warned = log.0.lock().unwrap().clone();
    for text in &warned {
        assert!(!text.contains("s3cret") && !text.contains("127.0.0.1"), "the URL is shown: {text}");
    }
    (server.seen(), warned, !delivered.is_empty())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_protocol_gets_what_it_understands() {
    let body = |seen: &[String]| -> serde_json::Value {
        serde_json::from_str(seen[0].split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    let (seen, warned, delivered) = send(ChannelKind::Discord, &[Answer::Status(204, "")]).await;
    assert!(delivered && warned.is_empty() && seen.len() == 1);
    assert!(body(&seen)["content"].as_str().unwrap().chars().count() <= 2000);
    assert_eq!(body(&seen)["allowed_mentions"]["parse"], serde_json::json!([]));
    let (seen, ..) = send(ChannelKind::Slack, &[]).await;
    assert!(body(&seen)["text"].as_str().unwrap().starts_with("dbhaul app: FAILED &lt;b&gt;"));
    let (seen, ..) = send(ChannelKind::Webhook, &[]).await;
    assert_eq!(body(&seen)["occasions"], serde_json::json!(["failure"]));
    assert_eq!((body(&seen)["exit-code"].as_u64(), body(&seen)["report"]["n"].as_u64()), (Some(4), Some(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_server_is_retried_and_reported_without_its_url() {
    let again = [Answer::Status(500, ""), Answer::Reset];
    let (seen, warned, delivered) = send(ChannelKind::Webhook, &again).await;
    assert!(delivered && warned.is_empty() && seen.len() == 3, "{seen:?} {warned:?}");
    let (seen, warned, delivered) = send(ChannelKind::Webhook, &[Answer::Status(500, ""); 9]).await;
    assert!(!delivered && seen.len() == 3 && warned[0].contains("500"), "{warned:?}");
    // The URL is wrong: not retried.
    let (seen, warned, _) = send(ChannelKind::Webhook, &[Answer::Status(404, "")]).await;
    assert!(seen.len() == 1 && warned[0].contains("404"), "{warned:?}");
    let began = Instant::now();
    let (_, warned, delivered) = send(ChannelKind::Webhook, &[Answer::Hang; 9]).await;
    assert!(!delivered && warned[0].contains("no answer in time"), "{warned:?}");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_obeyed_up_to_a_limit() {
    let began = Instant::now();
    let (seen, _, delivered) =
        send(ChannelKind::Discord, &[Answer::Status(429, "{\"retry_after\": 0.3}")]).await;
    assert!(delivered && seen.len() == 2 && began.elapsed() >= Duration::from_millis(300));
    let (seen, warned, delivered) =
        send(ChannelKind::Discord, &[Answer::Status(429, "{\"retry_after\": 3600.0}")]).await;
    assert!(!delivered && seen.len() == 1 && warned[0].contains("3600 s, which is too long"), "{warned:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_too_long_after_the_run_is_dropped() {
    let server = Server::start(&[Answer::Hang; 9]).await;
    let log = Arc::new(Log::default());
    let limits = Limits { attempt: Duration::from_secs(30), ..quick() };
    let channels = vec![
        channel(ChannelKind::Webhook, &server.url, &[Occasion::Failure]),
        channel(ChannelKind::Healthchecks, &server.url, &[]),
    ];
    let began = Instant::now();
    let notifier = Notifier::start(channels, limits, &Progress::shown_by(log.clone()));
    assert!(began.elapsed() < Duration::from_secs(1), "a run does not wait for its start to be told");
    notifier.finish(&notice(&[Occasion::Failure], 1), |_| None, Duration::from_millis(200)).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let warned = log.0.lock().unwrap().clone();
    assert!(warned.len() == 2 && warned.iter().all(|text| text.contains("was dropped")), "{warned:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_mans_switch_gets_the_start_and_the_exit_code() {
    for (exit_code, path) in [(0, "/hooks/s3cret?rid="), (4, "/hooks/s3cret/4?rid=")] {
        let server = Server::start(&[]).await;
        let configured = channel(ChannelKind::Healthchecks, &server.url, &[]);
        let notifier = Notifier::start(vec![configured], quick(), &Progress::new(true));
        while server.seen().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        notifier.finish(&notice(&[], exit_code), |_| None, Duration::from_secs(2)).await;
        let seen = server.seen();
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert!(seen[0].starts_with("POST /hooks/s3cret/start?rid="), "{seen:?}");
        assert!(seen[1].starts_with(&format!("POST {path}")), "{seen:?}");
        let rid = |text: &str| text.split_once("rid=").unwrap().1.split(' ').next().unwrap().to_owned();
        assert_eq!(rid(&seen[0]), rid(&seen[1]));
    }
}

#[test]
fn a_channel_gets_only_requested_notices_and_not_too_often() {
    let some = channel(ChannelKind::Discord, "http://h", &[Occasion::Failure, Occasion::Recovered]);
    let every = channel(ChannelKind::Discord, "http://h", &[Occasion::Always]);
    let failed = notice(&[Occasion::Failure], 1);
    let ago = |minutes: i64| Some(failed.at - TimeDelta::minutes(minutes));
    assert!(some.wants(&failed, None) && some.wants(&failed, ago(61)) && !some.wants(&failed, ago(59)));
    assert!(some.wants(&failed, ago(-61)), "a clock that was ahead silences nobody for long");
    assert!(!some.wants(&notice(&[Occasion::Suspicious], 3), None) && !some.wants(&notice(&[], 0), None));
    assert!(some.wants(&notice(&[Occasion::Recovered], 0), ago(1)));
    assert!(every.wants(&notice(&[], 0), ago(1)) && every.wants(&failed, ago(1)));
}
