//! Report on the contents of an RDB or AOF.

use chrono_tz::Tz;
use redisdump::inspect::{Expiries, Inspection, PrefixNode, Sizes};

use super::{Table, time};
use crate::ui::{count, size};

/// Renders as text: totals, types, databases, the biggest keys, the tree of prefixes; with times in this zone.
pub(crate) fn render(found: &Inspection, zone: Tz) -> String {
    let mut out = format!("{}, {} keys", size(found.bytes), count(found.sizes.keys));
    if let (Some(dialect), Some(version)) = (found.dialect, found.rdb_version) {
        out.push_str(&format!(", RDB version {version} ({dialect:?})"));
    }
    if let Some(checksum) = found.checksum {
        out.push_str(&format!(", checksum {checksum:?}").to_lowercase());
    }
    out.push('\n');
    for (name, value) in &found.aux {
        out.push_str(&format!("  {name}: {value}\n"));
    }
    out.push_str(&expiries(&found.expiries, zone));
    if found.empty_keys > 0 {
        out.push_str(&format!(
            "{} keys beside these are empty: servers from 7.0 on drop them\n",
            count(found.empty_keys)
        ));
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
    for (title, keys) in [("biggest keys", &found.biggest), ("longest keys", &found.longest)] {
        if keys.is_empty() {
            continue;
        }
        let mut table = Table::new(&[title, "db", "type", ">bytes", ">elements", "expires"]);
        for key in keys {
            table.row([
                String::from_utf8_lossy(&key.name).into_owned(),
                key.db.to_string(),
                key.kind.to_string(),
                size(key.bytes),
                count(key.elements),
                key.expiry_ms.map_or_else(String::new, |ms| moment(ms, zone)),
            ]);
        }
        out.push_str(&table.render());
    }
    let mut table = Table::new(&["prefix", ">keys", ">bytes", ">elements", ">with expiry"]);
    tree(&mut table, &found.prefixes, 0);
    out.push_str(&table.render());
    if !found.prefixes_exact {
        out.push_str("too many prefixes to list: smaller ones are counted under their parents\n");
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
        out.push_str(&format!("data of module {module} besides keys: {records} records\n"));
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

/// Expiries, on one line.
fn expiries(found: &Expiries, zone: Tz) -> String {
    let mut parts = Vec::new();
    if let (Some(soonest), Some(latest)) = (found.soonest_ms, found.latest_ms) {
        let keys = count(found.keys);
        parts.push(format!(
            "{keys} keys with an expiry, from {} to {}",
            moment(soonest, zone),
            moment(latest, zone)
        ));
        parts.push(format!("{} have expired by now", count(found.expired)));
    }
    if found.hashes_with_expiring_fields > 0 {
        parts.push(format!("{} hashes with fields that expire", count(found.hashes_with_expiring_fields)));
    }
    if parts.is_empty() { String::new() } else { format!("expiries: {}\n", parts.join("; ")) }
}

/// Milliseconds since the epoch as a date, if representable.
fn moment(ms: i64, zone: Tz) -> String {
    let date = chrono::DateTime::from_timestamp_millis(ms);
    date.map_or_else(|| format!("{ms} ms"), |date| time(date, zone))
}

/// Renders as CSV: single values in the column `value`, sums and keys in columns of their own.
pub(crate) fn csv(found: &Inspection) -> String {
    let mut out = "what,name,keys,bytes,elements,expires,value\n".to_owned();
    let mut value = |what: &str, name: &str, value: &str| {
        out.push_str(&format!("{what},{},,,,,{}\n", field(name), field(value)));
    };
    let mut file = vec![("bytes", found.bytes.to_string()), ("empty-keys", found.empty_keys.to_string())];
    if let (Some(dialect), Some(version)) = (found.dialect, found.rdb_version) {
        file.push(("rdb-dialect", format!("{dialect:?}").to_lowercase()));
        file.push(("rdb-version", version.to_string()));
    }
    file.extend(found.checksum.map(|checksum| ("checksum", format!("{checksum:?}").to_lowercase())));
    file.iter().for_each(|(name, text)| value("file", name, text));
    found.aux.iter().for_each(|(name, text)| value("aux", name, text));
    let times = &found.expiries;
    value("expiry", "keys", &times.keys.to_string());
    value("expiry", "expired", &times.expired.to_string());
    value("expiry", "hashes-with-expiring-fields", &times.hashes_with_expiring_fields.to_string());
    for (name, at) in [("soonest-ms", times.soonest_ms), ("latest-ms", times.latest_ms)] {
        if let Some(at) = at {
            value("expiry", name, &at.to_string());
        }
    }
    found.functions.names.iter().for_each(|name| value("function", name, ""));
    found.module_values.iter().for_each(|(name, keys)| value("module-values", name, &keys.to_string()));
    found.module_data.iter().for_each(|(name, records)| value("module-data", name, &records.to_string()));
    if let Some(commands) = &found.commands {
        value("commands", "(all)", &commands.commands.to_string());
        value("commands", "(transactions)", &commands.transactions.to_string());
        commands.by_name.iter().for_each(|(name, times)| value("command", name, &times.to_string()));
    }
    for (what, keys) in [("biggest", &found.biggest), ("longest", &found.longest)] {
        for key in keys {
            let name = format!("{}/{}", key.db, String::from_utf8_lossy(&key.name));
            out.push_str(&format!(
                "{what},{},1,{},{},{},{}\n",
                field(&name),
                key.bytes,
                key.elements,
                u64::from(key.expiry_ms.is_some()),
                key.kind
            ));
        }
    }
    let mut line = |what: &str, name: &str, sizes: Sizes| {
        out.push_str(&format!(
            "{what},{},{},{},{},{},\n",
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

/// A field as in RFC 4180, quoted if necessary.
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

/// Prefixes that hold at least 1/`SHOWN` of all bytes are shown.
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
