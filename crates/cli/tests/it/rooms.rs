//! Modules of every crate: no import cycle crosses folders, and none has more than three files.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

type Module = Vec<String>;

/// The modules of a crate with their text, tests and comments left out.
fn modules(src: &Path, at: &Path, found: &mut BTreeMap<Module, String>) {
    for entry in std::fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            modules(src, &path, found);
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.extension().is_none_or(|ending| ending != "rs") || name.ends_with("tests") {
            continue;
        }
        let mut module: Module = path
            .parent()
            .and_then(|folder| folder.strip_prefix(src).ok())
            .unwrap()
            .iter()
            .map(|part| part.to_str().unwrap().to_owned())
            .collect();
        if !matches!(name.as_str(), "mod" | "lib" | "main") {
            module.push(name);
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
        found.insert(module, code.join("\n"));
    }
}

/// Every path of a tree such as `crate::a::{b, c::{d, e}}`.
fn paths(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((head, rest)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap_or_default().trim().to_owned()];
    };
    let inner = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
    let (mut depth, mut from, mut out) = (0, 0, Vec::new());
    for (at, sign) in inner.char_indices().chain([(inner.len(), ',')]) {
        match sign {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let item = inner.get(from..at).unwrap_or_default().trim();
                if !item.is_empty() {
                    out.extend(paths(item).into_iter().map(|path| format!("{}{path}", head.trim())));
                }
                from = at + 1;
            }
            _ => {}
        }
    }
    out
}

/// Names that each module re-exports with `pub use`.
type ReExports = BTreeMap<Module, BTreeMap<String, String>>;

/// The `use` statements of a text, each as a tree of paths; those that are public, or those that are not.
fn uses(text: &str, public: bool) -> impl Iterator<Item = &str> {
    text.split(';').filter_map(move |statement| {
        let line = statement.rfind("\nuse ").or_else(|| statement.rfind("\npub"));
        let begun = statement.get(line.map_or(0, |at| at + 1)..)?;
        let (before, tree) = begun.split_once("use ")?;
        let is_use = matches!(before, "" | "pub " | "pub(crate) " | "pub(super) ");
        (is_use && before.is_empty() != public).then_some(tree)
    })
}

/// The module that a path names from within `at`, if it is one of this crate's. A name that a module only passes on
/// leads to where it comes from.
fn resolved(
    at: &Module,
    path: &str,
    all: &BTreeMap<Module, String>,
    passed_on: &ReExports,
    depth: usize,
) -> Option<Module> {
    let mut parts: Vec<&str> = path.split("::").map(str::trim).collect();
    let mut module = match *parts.first()? {
        "crate" => Vec::new(),
        "self" | "super" => at.clone(),
        first => {
            let mut child = at.clone();
            child.push(first.to_owned());
            all.get(&child)?;
            at.clone()
        }
    };
    while parts.first() == Some(&"super") {
        module.pop();
        parts.remove(0);
    }
    parts.retain(|part| !matches!(*part, "crate" | "self"));
    for part in parts {
        let mut next = module.clone();
        next.push(part.to_owned());
        if all.contains_key(&next) {
            module = next;
            continue;
        }
        let source = passed_on.get(&module).and_then(|names| names.get(part)).filter(|_| depth < 6);
        return match source {
            Some(source) => resolved(&module, source, all, passed_on, depth + 1),
            None => Some(module),
        };
    }
    Some(module)
}

/// Which module each one imports from, by `use` statements that are not re-exports.
fn imports(all: &BTreeMap<Module, String>) -> BTreeMap<Module, BTreeSet<Module>> {
    let mut passed_on = ReExports::new();
    for (module, text) in all {
        let names = uses(text, true).flat_map(paths).filter_map(|path| {
            let name = path.rsplit("::").next()?.to_owned();
            Some((name, path))
        });
        passed_on.insert(module.clone(), names.collect());
    }
    let edge = |(module, text): (&Module, &String)| {
        let found = uses(text, false).flat_map(paths);
        let mut targets: BTreeSet<Module> =
            found.filter_map(|path| resolved(module, &path, all, &passed_on, 0)).collect();
        // The root of a crate only declares what is public.
        targets.retain(|target| !target.is_empty() && target != module);
        (module.clone(), targets)
    };
    all.iter().map(edge).collect()
}

/// Everything that a module reaches.
fn reached(from: &Module, edges: &BTreeMap<Module, BTreeSet<Module>>) -> BTreeSet<Module> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from.clone()]);
    while let Some(next) = open.pop() {
        for target in edges.get(&next).into_iter().flatten() {
            if seen.insert(target.clone()) {
                open.push(target.clone());
            }
        }
    }
    seen
}

#[test]
fn no_circle_of_imports_crosses_rooms() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    for folder in std::fs::read_dir(crates).unwrap() {
        let src = folder.unwrap().path().join("src");
        let mut all = BTreeMap::new();
        modules(&src, &src, &mut all);
        assert!(!all.is_empty(), "{} holds no modules", src.display());
        let edges = imports(&all);
        let reach: BTreeMap<&Module, BTreeSet<Module>> =
            edges.keys().map(|module| (module, reached(module, &edges))).collect();
        for (module, targets) in &reach {
            if !targets.contains(*module) {
                continue;
            }
            let circle: Vec<&Module> = targets
                .iter()
                .filter(|other| reach.get(other).is_some_and(|back| back.contains(*module)))
                .collect();
            let rooms: BTreeSet<&String> = circle.iter().filter_map(|module| module.first()).collect();
            if circle.len() > 3 || rooms.len() > 1 {
                let names: Vec<String> = circle.iter().map(|module| module.join("::")).collect();
                found.push(format!("{}: {}", src.display(), names.join(", ")));
            }
        }
    }
    found.dedup();
    assert!(found.is_empty(), "these import each other in a circle:\n{}", found.join("\n"));
}

#[test]
fn a_tree_of_imports_is_read_whole() {
    assert_eq!(paths("crate::a::{b, c::{d, e as f}}"), ["crate::a::b", "crate::a::c::d", "crate::a::c::e"]);
}
