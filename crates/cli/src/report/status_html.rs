//! The status as a page: one file, no script, legible on a phone.

use std::fmt::Write as _;

use chrono_tz::Tz;

use super::html::escaped;
use super::status::{Proof, Severity, SourceStatus, StatusReport, age};
use super::time;
use crate::ui::{count, size};

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--good:#2e7d32;--bad:#c62828;--warn:#b26a00}\
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:1rem}\
h1{font-size:1.3rem;margin:.5rem 0}.verdict{border-radius:.4rem;color:#fff;display:inline-block;padding:.1rem .7rem}\
.good{background:var(--good)}.bad{background:var(--bad)}.warn{background:var(--warn)}\
.sources{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(16rem,1fr))}\
section{border:1px solid var(--line);border-radius:.5rem;padding:.8rem}h2{font-size:1.05rem;margin:0}\
dl{display:grid;gap:.1rem .8rem;grid-template-columns:max-content 1fr;margin:.5rem 0 0}dt{opacity:.7}dd{margin:0;overflow-wrap:anywhere}\
svg{display:block;height:3rem;margin-top:.5rem;width:100%}li{overflow-wrap:anywhere}footer{font-size:.85rem;opacity:.7}";

/// The page, with times in this zone.
pub(crate) fn page(report: &StatusReport, zone: Tz) -> String {
    let class = match (report.safe, report.problems.is_empty()) {
        (true, true) => "good",
        (true, false) => "warn",
        (false, _) => "bad",
    };
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{job}: {verdict}</title><style>{STYLE}</style></head><body>\n\
         <h1>{job} <span class=\"verdict {class}\">{verdict}</span></h1>\n",
        job = escaped(&report.job),
        verdict = report.verdict(),
    );
    if !report.problems.is_empty() {
        out.push_str("<ul>");
        for problem in &report.problems {
            let word = if problem.severity == Severity::Failure { "failure" } else { "warning" };
            let _ = write!(out, "<li><strong>{word}</strong>: {}</li>", escaped(&problem.line()));
        }
        out.push_str("</ul>\n");
    }
    out.push_str("<div class=\"sources\">\n");
    for source in &report.sources {
        out.push_str(&section(source, zone));
    }
    out.push_str("</div>\n<section><dl>");
    let mut row = |name: &str, value: &str| {
        let _ = write!(out, "<dt>{name}</dt><dd>{}</dd>", escaped(value));
    };
    row("last check", &proven(report.check.as_ref(), zone));
    row("last rehearsal", &proven(report.rehearsal.as_ref(), zone));
    row("snapshots", &count(report.snapshots as u64));
    if let Some(bytes) = report.stored_bytes {
        row("stored", &size(bytes));
    }
    row("repository", &report.repository);
    row("next run", &report.next_run.map_or_else(|| "no schedule".to_owned(), |at| time(at, zone)));
    let _ =
        write!(out, "</dl></section>\n<footer>dbhaul, {}</footer></body></html>\n", time(report.at, zone));
    out
}

fn section(source: &SourceStatus, zone: Tz) -> String {
    let mut out = format!("<section><h2>{}</h2><dl>", escaped(&source.name));
    let mut row = |name: &str, value: String| {
        let _ = write!(out, "<dt>{name}</dt><dd>{}</dd>", escaped(&value));
    };
    row("last good", source.taken_at.map_or_else(|| "none".to_owned(), |at| time(at, zone)));
    if let Some(seconds) = source.age_seconds {
        row("age", format!("{}{}", age(seconds), if source.stale { " (stale)" } else { "" }));
    }
    if let Some(bytes) = source.bytes {
        row("size", size(bytes));
    }
    if let Some(rows) = source.rows {
        row("rows", count(rows));
    }
    if let Some(keys) = source.keys {
        row("keys", count(keys));
    }
    if let Some(passed) = source.baseline_passed {
        row("schema baseline", if passed { "met" } else { "NOT met" }.to_owned());
    }
    row("checked", proven(source.checked.as_ref(), zone));
    row("rehearsed", proven(source.rehearsed.as_ref(), zone));
    if let Some(at) = source.oldest_restore_point {
        row("oldest", time(at, zone));
    }
    out.push_str("</dl>");
    out.push_str(&bars(&source.trend));
    out.push_str("</section>\n");
    out
}

fn proven(proof: Option<&Proof>, zone: Tz) -> String {
    match proof {
        None => "never".to_owned(),
        Some(proof) if proof.passed => format!("passed {}", time(proof.at, zone)),
        Some(proof) if proof.incomplete => format!("incomplete {}", time(proof.at, zone)),
        Some(proof) => format!("FAILED {}", time(proof.at, zone)),
    }
}

/// Sizes as bars.
fn bars(values: &[u64]) -> String {
    let largest = values.iter().copied().max().unwrap_or(0).max(1) as f64;
    let width = values.len().max(1) * 10;
    let mut out = format!(
        "<svg viewBox=\"0 0 {width} 40\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"size of the last {} snapshots\">",
        values.len()
    );
    for (at, value) in values.iter().enumerate() {
        let height = (*value as f64 / largest * 38.0).max(1.0);
        let _ = write!(
            out,
            "<rect x=\"{}\" y=\"{:.1}\" width=\"8\" height=\"{height:.1}\" fill=\"currentColor\" opacity=\".6\"/>",
            at * 10 + 1,
            40.0 - height
        );
    }
    out.push_str("</svg>");
    out
}
