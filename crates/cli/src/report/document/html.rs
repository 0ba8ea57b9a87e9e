//! The HTML page: one file without scripts that loads nothing and works on a phone.

use std::fmt::Write as _;

use serde_json::Value;

use super::super::html::escaped;
use super::{Document, plot};

/// Maximum number of list entries to show.
const MOST_ENTRIES: usize = 500;
/// Maximum number of table columns; wider lists are shown entry by entry.
const MOST_COLUMNS: usize = 8;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--good:#2e7d32;--bad:#c62828;--plot:#3b6ea8}\
*{box-sizing:border-box}\
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:1rem}\
h1{font-size:1.3rem;margin:.5rem 0}h2{font-size:1.05rem;margin:1.5rem 0 .3rem}\
.verdict{border-radius:.4rem;color:#fff;display:inline-block;padding:.1rem .7rem}\
.good{background:var(--good)}.bad{background:var(--bad)}\
dl{display:grid;gap:.1rem .8rem;grid-template-columns:max-content minmax(0,1fr);margin:.3rem 0}\
dt{opacity:.7}dd{margin:0;overflow-wrap:anywhere}\
pre{border:1px solid var(--line);border-radius:.5rem;font-size:.8rem;margin:.5rem 0;overflow-x:auto;padding:.6rem}\
figure{border:1px solid var(--line);border-radius:.5rem;margin:.8rem 0;padding:.8rem}\
figure svg{display:block;height:7rem;width:100%}svg.bar{height:.5rem}\
.area,.bar rect,.held{fill:var(--plot)}.broke{fill:var(--bad)}\
.axis,.label{display:flex;font-size:.85rem;gap:1rem;justify-content:space-between;margin:.2rem 0 0}\
.label span:first-child{overflow-wrap:anywhere}.label span:last-child{white-space:nowrap}.axis{opacity:.7}\
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem}\
td,th{border-bottom:1px solid var(--line);padding:.2rem .6rem .2rem 0;text-align:left;vertical-align:top}\
summary{cursor:pointer;margin:1rem 0 .3rem}footer{font-size:.85rem;margin-top:1rem;opacity:.7}";

/// The whole page.
pub(super) fn page(document: &Document) -> String {
    let class = if document.is_good() { "good" } else { "bad" };
    let (command, verdict) = (document.command, document.verdict());
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>dbhaul {command}: {verdict}</title><style>{STYLE}</style></head><body>\n\
         <h1>dbhaul {command} <span class=\"verdict {class}\">{verdict}</span></h1>\n<dl>"
    );
    for (name, value) in document.facts() {
        let _ = write!(out, "<dt>{name}</dt><dd>{}</dd>", escaped(&value));
    }
    let _ = writeln!(out, "</dl>\n<pre>{}</pre>", escaped(document.text.trim_end()));
    out.push_str(&plot::throughput(&document.timeline));
    out.push_str(&plot::bars("Time by phase", &document.timeline.stages));
    out.push_str(&plot::history(&document.rehearsals, document.zone));
    let longest = document.timeline.tasks.get(..document.timeline.tasks.len().min(10)).unwrap_or_default();
    out.push_str(&plot::bars("Longest tasks", longest));
    out.push_str("<details><summary>All results</summary>\n");
    value(&document.report, &mut out);
    out.push_str("</details>\n");
    let _ = writeln!(out, "<footer>{}</footer></body></html>", escaped(document.tool));
    out
}

/// Any JSON value: lists of similar objects become tables, everything else names with values.
fn value(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            out.push_str("<dl>");
            for (name, field) in fields {
                let _ = write!(out, "<dt>{}</dt><dd>", escaped(name));
                self::value(field, out);
                out.push_str("</dd>");
            }
            out.push_str("</dl>");
        }
        Value::Array(entries) => {
            match columns(entries) {
                Some(columns) => table(&columns, entries, out),
                None => {
                    for entry in entries.iter().take(MOST_ENTRIES) {
                        out.push_str("<div>");
                        self::value(entry, out);
                        out.push_str("</div>");
                    }
                }
            }
            if let Some(more) = entries.len().checked_sub(MOST_ENTRIES).filter(|more| *more > 0) {
                let _ = write!(out, "<p>and {more} more, which the report as JSON has</p>");
            }
        }
        other => out.push_str(&escaped(&plain(other))),
    }
}

/// The columns of a list whose entries have only plain values.
fn columns(entries: &[Value]) -> Option<Vec<String>> {
    let mut columns: Vec<String> = Vec::new();
    for entry in entries {
        for (name, field) in entry.as_object()? {
            if field.is_object() || field.is_array() {
                return None;
            }
            if !columns.contains(name) {
                columns.push(name.clone());
            }
        }
    }
    (!columns.is_empty() && columns.len() <= MOST_COLUMNS).then_some(columns)
}

fn table(columns: &[String], entries: &[Value], out: &mut String) {
    out.push_str("<div class=\"wide\"><table><tr>");
    for column in columns {
        let _ = write!(out, "<th>{}</th>", escaped(column));
    }
    out.push_str("</tr>\n");
    for entry in entries.iter().take(MOST_ENTRIES) {
        out.push_str("<tr>");
        for column in columns {
            let _ = write!(out, "<td>{}</td>", escaped(&entry.get(column).map(plain).unwrap_or_default()));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table></div>");
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asserts that tags are balanced, attributes are quoted, and only our own tags occur.
    pub(crate) fn check(page: &str) {
        const EMPTY: [&str; 2] = ["meta", "!doctype"];
        const KNOWN: [&str; 32] = [
            "!doctype",
            "html",
            "head",
            "meta",
            "title",
            "style",
            "body",
            "h1",
            "h2",
            "span",
            "dl",
            "dt",
            "dd",
            "pre",
            "figure",
            "figcaption",
            "svg",
            "path",
            "rect",
            "p",
            "b",
            "details",
            "summary",
            "div",
            "table",
            "tr",
            "th",
            "td",
            "footer",
            "ul",
            "li",
            "strong",
        ];
        let mut open: Vec<String> = Vec::new();
        let mut rest = page;
        while let Some(at) = rest.find('<') {
            let text = &rest[..at];
            assert!(!text.contains('>'), "a stray > in {text:?}");
            for entity in text.split('&').skip(1) {
                let known = ["amp;", "lt;", "gt;", "quot;", "#39;"];
                assert!(known.iter().any(|known| entity.starts_with(known)), "{entity:?}");
            }
            let end = at + rest[at..].find('>').expect("an open tag");
            let tag = &rest[at + 1..end];
            rest = &rest[end + 1..];
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop().as_deref(), Some(name), "{tag}");
                continue;
            }
            let name = tag.split([' ', '/']).next().unwrap();
            assert!(KNOWN.contains(&name), "<{tag}>");
            if !tag.ends_with('/') && !EMPTY.contains(&name) {
                open.push(name.to_owned());
            }
        }
        assert_eq!(open, Vec::<String>::new());
        for foreign in ["src=", "href=", "url(", "@import", "<script", "<link", "<iframe"] {
            let outside = page.replace("src=&quot;", "");
            assert!(!outside.contains(foreign), "{foreign}");
        }
        assert!(!page.chars().any(|c| c.is_control() && c != '\n'), "a control character");
    }

    #[test]
    fn a_page_is_well_formed_and_loads_no_other_file() {
        let page = page(&super::super::example());
        check(&page);
        for expected in [
            "Throughput",
            "Time by phase",
            "Time to restore",
            "Longest tasks",
            "class=\"broke\"",
            "differences found",
        ] {
            assert!(page.contains(expected), "{expected}");
        }
        assert!(page.contains("&lt;script src=&quot;http://evil/x.js&quot;&gt;"));
    }

    #[test]
    fn a_run_without_data_has_a_page_too() {
        let document = Document {
            timeline: crate::ui::Recorded::default(),
            rehearsals: Vec::new(),
            report: Value::Null,
            text: String::new(),
            ..super::super::example()
        };
        check(&page(&document));
    }
}
