//! Metrics as read by a real node exporter and a real Prometheus, and the alerts that fire.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "test code")]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::schedules::monitoring;
use super::stage::Stage;

/// Ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(command: &mut Command) -> Running {
    Running(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The body of an answer.
fn get(port: u16, path: &str) -> Option<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

/// Queries until the response contains all of these.
#[track_caller]
fn wait_for(port: u16, path: &str, wanted: &[&str]) -> String {
    let began = Instant::now();
    loop {
        let text = get(port, path).unwrap_or_default();
        if wanted.iter().all(|wanted| text.contains(wanted)) {
            return text;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{path} does not show {wanted:?}: {text}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: run by scripts/test --all"]
async fn prometheus_reads_the_metrics_and_alerts_fire() {
    let (Some(exporter), Some(prometheus)) =
        (monitoring("prometheus-node-exporter"), monitoring("prometheus"))
    else {
        return;
    };
    let Some(stage) = Stage::start().await else { return };
    let here = stage.here.path();
    let (exporter_port, port) = (free_port(), free_port());
    let rules =
        std::fs::read_to_string(super::schedules::deploy().join("prometheus/dbhaul.rules.yml")).unwrap();
    // A test does not wait for minutes.
    let quick = |line: &str| {
        if line.trim().starts_with("for: ") { "        for: 0s".to_owned() } else { line.to_owned() }
    };
    let rules: Vec<String> = rules.lines().map(quick).collect();
    std::fs::write(here.join("rules.yml"), rules.join("\n")).unwrap();
    let config = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [rules.yml]\nscrape_configs:\n\
         - job_name: node\n  static_configs: [{{targets: ['127.0.0.1:{exporter_port}']}}]\n"
    );
    std::fs::write(here.join("prometheus.yml"), config).unwrap();
    stage.run(&["nightly", "--quiet"]).exits(0);
    let _exporter = start(
        Command::new(exporter)
            .arg("--collector.disable-defaults")
            .arg("--collector.textfile")
            .arg(format!("--collector.textfile.directory={}", here.join("textfile").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{exporter_port}")),
    );
    let seen = wait_for(
        exporter_port,
        "/metrics",
        &["dbhaul_last_success_timestamp_seconds{job_id=\"app\",source=\"redis\"}"],
    );
    assert!(seen.contains("node_textfile_scrape_error 0"), "{seen}");
    let _prometheus = start(
        Command::new(prometheus)
            .current_dir(here)
            .arg("--config.file=prometheus.yml")
            .arg(format!("--storage.tsdb.path={}", here.join("tsdb").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}")),
    );
    let query = "/api/v1/query?query=dbhaul_source_rows";
    wait_for(port, query, &["\"job_id\":\"app\"", "\"1000\""]);
    // It was never rehearsed.
    wait_for(port, "/api/v1/alerts", &["DbhaulRehearsalOld"]);
    stage.run(&["nightly", "--rehearse", "--quiet"]).exits(0);
    stage.configure("redis://127.0.0.1:1");
    stage.run(&["nightly", "--quiet"]).exits(4);
    let alerts = wait_for(port, "/api/v1/alerts", &["DbhaulRunFailed", "exit code 4"]);
    assert!(!alerts.contains("DbhaulBackupStale") && !alerts.contains("DbhaulSuspicious"), "{alerts}");
    // The moment that the exporter reads is old enough, as it is when no run has come for two nights.
    stage.configure(&stage.rd.url());
    stage.sql("DELETE FROM positions WHERE id > 1").await;
    stage.run(&["nightly", "--quiet"]).exits(3);
    wait_for(port, "/api/v1/alerts", &["DbhaulSuspicious"]);
    let file = here.join("textfile/dbhaul.prom");
    let text = std::fs::read_to_string(&file).unwrap();
    let old = text.replace(
        "dbhaul_stale_after_seconds{job_id=\"app\"} 129600",
        "dbhaul_stale_after_seconds{job_id=\"app\"} 0",
    );
    std::fs::write(&file, old).unwrap();
    wait_for(port, "/api/v1/alerts", &["DbhaulBackupStale"]);
    std::fs::remove_file(&file).unwrap();
    wait_for(port, "/api/v1/alerts", &["DbhaulMetricsAbsent"]);
}
