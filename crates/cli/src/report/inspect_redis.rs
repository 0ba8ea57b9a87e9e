//! What an RDB or an AOF holds.

use redisdump::inspect::{Inspection, PrefixNode, Sizes};

use super::Table;
use crate::ui::{count, size};

/// For people: totals, types, databases, the biggest keys, the tree of prefixes.
pub(crate) fn render(found: &Inspection) -> String {
    let mut out = format!("{}, {} keys", size(found.bytes), count(found.sizes.keys));
    if let (Some(dialect), Some(version)) = (found.dialect, found.rdb_version) {
        out.push_str(&format!(", RDB version {version} ({dialect:?})"));
    }
    out.push('\n');
    for (name, value) in &found.aux {
        out.push_str(&format!("  {name}: {value}\n"));
    }
    let mut table = Table::new(&["db", "type", ">keys", ">bytes", ">elements", ">with expiry"]);
    for (db, stats) in &found.databases {
        for (kind, sizes) in &stats.types {
            row(&mut table, &[db.to_string(), kind.to_string()], *sizes);
        }
    }
    out.push_str(&table.render());
    let mut table = Table::new(&["encoding", ">keys", ">bytes", ">elements", ">with expiry"]);
    for (encoding, sizes) in &found.encodings {
        row(&mut table, std::slice::from_ref(encoding), *sizes);
    }
    out.push_str(&table.render());
    if !found.biggest.is_empty() {
        let mut table = Table::new(&["biggest keys", "db", "type", ">bytes", ">elements"]);
        for key in &found.biggest {
            table.row([
                String::from_utf8_lossy(&key.name).into_owned(),
                key.db.to_string(),
                key.kind.to_string(),
                size(key.bytes),
                count(key.elements),
            ]);
        }
        out.push_str(&table.render());
    }
    let mut table = Table::new(&["prefix", ">keys", ">bytes", ">elements", ">with expiry"]);
    tree(&mut table, &found.prefixes, 0);
    out.push_str(&table.render());
    if !found.prefixes_exact {
        out.push_str(
            "there are more prefixes than are kept: the smaller ones are counted under what is above them\n",
        );
    }
    let functions = &found.functions;
    if functions.libraries > 0 {
        out.push_str(&format!(
            "functions: {} libraries ({})\n",
            functions.libraries,
            functions.names.join(", ")
        ));
    }
    for (module, keys) in &found.module_values {
        out.push_str(&format!("module values of {module}: {keys}\n"));
    }
    for (module, records) in &found.module_data {
        out.push_str(&format!("data of module {module} beside its keys: {records} records\n"));
    }
    if let Some(commands) = &found.commands {
        out.push_str(&format!(
            "commands: {}, {} transactions\n",
            count(commands.commands),
            commands.transactions
        ));
        for (name, number) in &commands.by_name {
            out.push_str(&format!("  {name}: {}\n", count(*number)));
        }
    }
    out
}

/// The same as CSV: one line for each database and type, and for each prefix.
pub(crate) fn csv(found: &Inspection) -> String {
    let mut out = "what,name,keys,bytes,elements,expires\n".to_owned();
    let mut line = |what: &str, name: &str, sizes: Sizes| {
        out.push_str(&format!(
            "{what},{},{},{},{},{}\n",
            field(name),
            sizes.keys,
            sizes.bytes,
            sizes.elements,
            sizes.expires
        ));
    };
    for (db, stats) in &found.databases {
        for (kind, sizes) in &stats.types {
            line("type", &format!("{db}/{kind}"), *sizes);
        }
    }
    for (encoding, sizes) in &found.encodings {
        line("encoding", encoding, *sizes);
    }
    let mut open = vec![&found.prefixes];
    while let Some(node) = open.pop() {
        line("prefix", &node.prefix, node.sizes);
        open.extend(node.children.iter().rev());
    }
    out
}

/// A field by RFC 4180: quoted where it needs it.
fn field(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

fn row(table: &mut Table, names: &[String], sizes: Sizes) {
    let numbers = [count(sizes.keys), size(sizes.bytes), count(sizes.elements), count(sizes.expires)];
    table.row(names.iter().cloned().chain(numbers));
}

/// Prefixes that hold at least this part of all bytes are shown.
const SHOWN: u64 = 200;

fn tree(table: &mut Table, node: &PrefixNode, depth: usize) {
    let name = if depth == 0 { "(all)".to_owned() } else { format!("{}{}", "  ".repeat(depth), node.prefix) };
    row(table, &[name], node.sizes);
    let total = node.sizes.bytes;
    for child in
        node.children.iter().take(20).filter(|child| child.sizes.bytes.saturating_mul(SHOWN) >= total)
    {
        tree(table, child, depth + 1);
    }
}
