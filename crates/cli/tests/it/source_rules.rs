//! Rules for the sources that the compiler does not check.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::path::{Path, PathBuf};

/// Rust files of product code under a folder, with their text up to their unit tests.
fn sources(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs")
            && !path.file_stem().unwrap().to_string_lossy().ends_with("tests")
        {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned();
            found.push((path, code));
        }
    }
}

/// All crates' sources, each with its crate's name.
fn crates() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut all = Vec::new();
    for folder in std::fs::read_dir(root).unwrap() {
        let folder = folder.unwrap().path();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let mut found = Vec::new();
        sources(&folder.join("src"), &mut found);
        assert!(!found.is_empty(), "{name} has no sources");
        all.extend(found.into_iter().map(|(path, text)| (name.clone(), path, text)));
    }
    all
}

/// The string literals of a text, without those in comments.
fn literals(text: &str) -> Vec<String> {
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(['"', '/', '\'']) {
        let from = rest.get(at..).unwrap();
        let skipped = if from.starts_with("//") {
            from.find('\n').unwrap_or(from.len())
        } else if from.starts_with("'\"'") || from.starts_with("'\\'") {
            3
        } else if let Some(inner) = from.strip_prefix('"') {
            let mut escaped = false;
            let end = inner.find(|sign| {
                let ends = sign == '"' && !escaped;
                escaped = sign == '\\' && !escaped;
                ends
            });
            let literal = inner.get(..end.unwrap_or(inner.len())).unwrap();
            found.push(literal.to_owned());
            literal.len() + 2
        } else {
            1
        };
        rest = from.get(skipped..).unwrap_or_default();
    }
    found
}

/// The long options that a literal names.
fn flags(literal: &str) -> Vec<&str> {
    let starts = literal.match_indices("--").filter(|(at, _)| {
        let before = literal.get(..*at).and_then(|before| before.chars().next_back());
        before.is_none_or(|sign| !sign.is_alphanumeric() && sign != '-')
    });
    let named = starts.filter_map(|(at, _)| {
        let word = literal.get(at..)?;
        let name = word.get(2..)?;
        let end = name.find(|sign: char| !sign.is_ascii_alphanumeric() && sign != '-').unwrap_or(name.len());
        name.starts_with(|sign: char| sign.is_ascii_lowercase()).then(|| word.get(..end + 2)).flatten()
    });
    named.collect()
}

/// Libraries return typed remedies; only the binary knows its flags (`cli/src/remedy.rs`).
#[test]
fn libraries_name_no_flags_of_the_binary() {
    /// Where options of other programs are named: a part of the path, and the option.
    const OTHERS: [(&str, &str); 4] = [
        // Arguments for kubectl, docker and ssh.
        ("tunnel/src", ""),
        // Arguments for initdb, postgres and redis-server.
        ("sandbox/src", ""),
        // `aws configure export-credentials`.
        ("repository/src/store/aws_files.rs", ""),
        // `redis-cli --cluster fix`.
        ("redisdump/src/capture/mod.rs", "--cluster"),
    ];
    let mut found = Vec::new();
    let mut libraries = 0;
    for (name, path, text) in crates().iter().filter(|(name, ..)| name != "cli") {
        libraries += 1;
        let shown = path.display().to_string();
        for literal in literals(text) {
            for flag in flags(&literal) {
                if !OTHERS.iter().any(|(part, other)| shown.contains(part) && flag.starts_with(other)) {
                    found.push(format!("{name}: {shown}: {flag}"));
                }
            }
        }
    }
    assert!(libraries > 200, "only {libraries} files were read");
    assert!(found.is_empty(), "these literals of libraries name flags:\n{}", found.join("\n"));
}

/// A function of more than 100 lines has phases, which are functions of their own.
#[test]
fn functions_have_at_most_100_lines() {
    const MOST: usize = 100;
    let mut found = Vec::new();
    for (_, path, text) in crates() {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            let indent = line.len() - code.len();
            let begins = ["fn ", "async fn ", "const fn ", "unsafe fn "];
            let plain = match code.strip_prefix("pub") {
                Some(rest) => rest.split_once(' ').map_or("", |(_, rest)| rest),
                None => code,
            };
            if !begins.iter().any(|word| plain.starts_with(word)) {
                continue;
            }
            let end = format!("{}}}", " ".repeat(indent));
            let length = lines.iter().skip(at).position(|line| **line == *end).map_or(0, |length| length + 1);
            if length > MOST {
                found.push(format!("{}:{}: {length} lines", path.display(), at + 1));
            }
        }
    }
    assert!(found.is_empty(), "these functions are too long:\n{}", found.join("\n"));
}

#[test]
fn literals_and_flags_are_recognized() {
    let text = "a(\"x --one\\\" y\"); // \"--no\"\nb('\"', \"(--two=…) --- z--three\")";
    let found = literals(text);
    assert_eq!(found, ["x --one\\\" y", "(--two=…) --- z--three"]);
    let flags: Vec<&str> = found.iter().flat_map(|literal| flags(literal)).collect();
    assert_eq!(flags, ["--one", "--two"]);
}
