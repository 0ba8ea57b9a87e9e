//! The report as Markdown, for a ticket or a wiki.

use std::fmt::Write as _;

use super::Document;
use crate::ui::size;

/// The whole page.
pub(super) fn page(document: &Document) -> String {
    let mut out = format!("# dbhaul {}: {}\n\n| | |\n|---|---|\n", document.command, document.verdict());
    for (name, value) in document.facts() {
        let _ = writeln!(out, "| {name} | {} |", cell(&value));
    }
    let text = clean(document.text.trim_end());
    // The fence is longer than any run of backquotes in the text, so the text cannot close it.
    let fence = "`".repeat(longest_run(&text).max(2) + 1);
    let _ = writeln!(out, "\n{fence}text\n{text}\n{fence}");
    let timeline = &document.timeline;
    for (title, spans) in [("Time by phase", &timeline.stages[..]), ("Longest tasks", first(&timeline.tasks))]
    {
        if spans.is_empty() {
            continue;
        }
        let _ = writeln!(out, "\n## {title}\n\n| | time | moved |\n|---|---:|---:|");
        for span in spans {
            let moved = span.bytes.map(size).unwrap_or_default();
            let _ =
                writeln!(out, "| {} | {} | {moved} |", cell(&span.name), crate::ui::seconds(span.seconds));
        }
    }
    if !document.rehearsals.is_empty() {
        out.push_str("\n## Time to restore\n\n| rehearsed | result | time |\n|---|---|---:|\n");
        for proof in &document.rehearsals {
            let result = if proof.passed { "passed" } else { "FAILED" };
            let took = proof.seconds.map(crate::ui::seconds).unwrap_or_default();
            let _ = writeln!(out, "| {} | {result} | {took} |", super::super::time(proof.at, document.zone));
        }
    }
    out
}

fn first<T>(all: &[T]) -> &[T] {
    all.get(..all.len().min(10)).unwrap_or_default()
}

fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// Text of a table cell, with markup and line breaks escaped.
fn cell(text: &str) -> String {
    let mut out = String::new();
    for c in clean(text).chars() {
        match c {
            '\n' => out.push(' '),
            '|' | '`' | '*' | '_' | '<' | '>' | '[' | ']' | '\\' | '#' | '&' | '~' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

fn longest_run(text: &str) -> usize {
    let (mut longest, mut run) = (0, 0);
    for c in text.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_text_and_stay_where_they_are() {
        let page = page(&super::super::example());
        // The text contains a fence of three, so it is fenced with four.
        assert_eq!(page.lines().filter(|line| line.starts_with("````")).count(), 2, "{page}");
        let table: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).collect();
        assert!(table.iter().all(|line| line.ends_with(" |")), "{page}");
        assert!(table.iter().any(|line| line.contains("\\<script")), "{page}");
        assert!(!page.chars().any(|c| c.is_control() && c != '\n'));
        assert_eq!(cell("a|b\nc"), "a\\|b c");
    }
}
