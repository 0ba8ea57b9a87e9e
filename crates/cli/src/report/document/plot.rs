//! Plots as inline SVG. Labels and numbers are HTML text next to them, which stays legible on narrow screens.

use std::fmt::Write as _;

use super::super::html::escaped;
use super::super::status::Proof;
use super::super::time;
use crate::ui::{Recorded, Span, seconds, size};

/// Throughput over time.
pub(super) fn throughput(timeline: &Recorded) -> String {
    let most = timeline.moved.iter().copied().max().unwrap_or(0);
    if most == 0 || timeline.moment_seconds <= 0.0 {
        return String::new();
    }
    let number = timeline.moved.len();
    let rate = |bytes: u64, seconds: f64| format!("{}/s", size((bytes as f64 / seconds.max(0.001)) as u64));
    let moved: u64 = timeline.moved.iter().sum();
    let height = |bytes: u64| 100.0 - bytes as f64 / most as f64 * 96.0;
    let mut line = String::new();
    for (at, bytes) in timeline.moved.iter().enumerate() {
        let _ = write!(line, "L{at} {:.1} L{} {:.1} ", height(*bytes), at + 1, height(*bytes));
    }
    format!(
        "<figure><figcaption><b>Throughput</b>: at most {}, {} on average</figcaption>\
         <svg viewBox=\"0 0 {number} 100\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"throughput over time\">\
         <path d=\"M0 100 {line}L{number} 100 Z\" class=\"area\"/></svg>\
         <p class=\"axis\"><span>0 s</span><span>{}</span></p></figure>\n",
        rate(most, timeline.moment_seconds),
        rate(moved, timeline.seconds),
        seconds(timeline.moment_seconds * number as f64)
    )
}

/// Durations as horizontal bars.
pub(super) fn bars(title: &str, spans: &[Span]) -> String {
    if spans.is_empty() {
        return String::new();
    }
    let longest = spans.iter().map(|span| span.seconds).fold(0.001, f64::max);
    let mut out = format!("<figure><figcaption><b>{title}</b></figcaption>\n");
    for span in spans {
        let width = span.seconds.max(0.0) / longest * 100.0;
        let moved = span.bytes.map(|bytes| format!(", {}", size(bytes))).unwrap_or_default();
        let _ = writeln!(
            out,
            "<p class=\"label\"><span>{}</span><span>{}{moved}</span></p>\
             <svg class=\"bar\" viewBox=\"0 0 100 4\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
             <rect width=\"{width:.2}\" height=\"4\"/></svg>",
            escaped(&span.name),
            seconds(span.seconds)
        );
    }
    out.push_str("</figure>\n");
    out
}

/// Times to restore, oldest first; failures have a color of their own.
pub(super) fn history(rehearsals: &[Proof], zone: chrono_tz::Tz) -> String {
    let timed: Vec<(&Proof, f64)> =
        rehearsals.iter().filter_map(|proof| Some((proof, proof.seconds?))).collect();
    let (Some((first, _)), Some((last, newest))) = (timed.first(), timed.last()) else {
        return String::new();
    };
    let longest = timed.iter().map(|(_, seconds)| *seconds).fold(0.001, f64::max);
    let mut out = format!(
        "<figure><figcaption><b>Time to restore</b>: {} now, {} at most</figcaption>\
         <svg viewBox=\"0 0 {} 100\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"times to restore of {} rehearsals\">",
        seconds(*newest),
        seconds(longest),
        timed.len() * 10,
        timed.len()
    );
    for (at, (proof, seconds)) in timed.iter().enumerate() {
        let height = (seconds.max(0.0) / longest * 96.0).max(1.0);
        let class = if proof.passed { "held" } else { "broke" };
        let _ = write!(
            out,
            "<rect class=\"{class}\" x=\"{}\" y=\"{:.1}\" width=\"8\" height=\"{height:.1}\"/>",
            at * 10 + 1,
            100.0 - height
        );
    }
    let _ = writeln!(
        out,
        "</svg><p class=\"axis\"><span>{}</span><span>{}</span></p></figure>",
        time(first.at, zone),
        time(last.at, zone)
    );
    out
}
