//! Report on the contents of a snapshot.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::Table;
use crate::jobs::record::{PostgresDetails, TableRecord};
use crate::ui::{count, size};

/// A snapshot.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct InspectReport {
    snapshot: String,
    taken_at: DateTime<Utc>,
    complete: bool,
    sources: Vec<SourceInspection>,
}

/// A source of the snapshot.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct SourceInspection {
    name: String,
    kind: String,
    server: serde_json::Value,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<String>,
    tables: Vec<TableRecord>,
    objects: Vec<Object>,
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    details: serde_json::Value,
}

/// An object of a schema.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Object {
    kind: String,
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    owner: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    extension: Option<String>,
}

impl SourceInspection {
    /// A PostgreSQL source.
    pub(crate) fn postgres(
        record: &repository::SourceRecord,
        details: PostgresDetails,
        catalog: &pgmove::Catalog,
    ) -> SourceInspection {
        // The catalog lists views and similar relations among the tables.
        let kinds: BTreeMap<u32, &str> =
            catalog.tables.iter().map(|table| (table.meta.oid, table.kind.keyword())).collect();
        let mut objects: Vec<Object> = catalog
            .metas()
            .map(|(kind, meta)| Object {
                kind: kinds.get(&meta.oid).filter(|_| kind == "table").unwrap_or(&kind).to_lowercase(),
                name: if kind == "large object" { meta.name.clone() } else { meta.qualified() },
                owner: meta.owner.clone(),
                extension: meta.extension.clone(),
            })
            .collect();
        let named = |kind: &str, name: String| Object {
            kind: kind.to_owned(),
            name,
            owner: String::new(),
            extension: None,
        };
        objects.extend(
            catalog.extensions.iter().map(|e| named("extension", format!("{} {}", e.meta.name, e.version))),
        );
        objects.extend(
            catalog
                .foreign_keys
                .iter()
                .map(|key| named("foreign key", format!("{} on {}", key.name, key.table))),
        );
        objects
            .extend(catalog.triggers.iter().map(|t| named("trigger", format!("{} on {}", t.name, t.table))));
        objects.extend(
            catalog.rules.iter().map(|rule| named("rule", format!("{} on {}", rule.name, rule.table))),
        );
        objects
            .extend(catalog.policies.iter().map(|p| named("policy", format!("{} on {}", p.name, p.table))));
        objects.sort_by(|a, b| (&a.kind, &a.name).cmp(&(&b.kind, &b.name)));
        SourceInspection {
            part: (!details.filter.is_all()).then(|| details.filter.to_string()),
            tables: details.tables,
            objects,
            ..SourceInspection::bare(record)
        }
    }

    /// A source of another kind: its manifest record.
    pub(crate) fn other(record: &repository::SourceRecord) -> SourceInspection {
        SourceInspection { details: record.details.clone(), ..SourceInspection::bare(record) }
    }

    fn bare(record: &repository::SourceRecord) -> SourceInspection {
        SourceInspection {
            name: record.name.clone(),
            kind: record.kind.clone(),
            server: record.server.clone(),
            bytes: record.parts.iter().map(|part| part.bytes).sum(),
            part: None,
            tables: Vec::new(),
            objects: Vec::new(),
            details: serde_json::Value::Null,
        }
    }

    fn render(&self, list: bool) -> String {
        let version = self.server.get("version").and_then(serde_json::Value::as_str).unwrap_or("?");
        let mut out = format!("{} ({} {version}), {}\n", self.name, self.kind, size(self.bytes));
        if let Some(part) = &self.part {
            out.push_str(&format!("  PART of a database: {part}\n"));
        }
        if !self.tables.is_empty() {
            let mut table = Table::new(&["table", ">rows", ">bytes", "digest"]);
            for record in &self.tables {
                table.row([
                    record.table.to_string(),
                    count(record.proof.rows),
                    size(record.proof.bytes),
                    record.proof.digest.to_string(),
                ]);
            }
            out.push_str(&table.render());
        }
        if let Some(nodes) = self.details.get("nodes").and_then(serde_json::Value::as_array) {
            let mut table = Table::new(&["master", "slots", ">keys", ">ms after the first"]);
            for node in nodes {
                let text = |name: &str| node.get(name).and_then(serde_json::Value::as_str).unwrap_or("?");
                let number = |name: &str| node.get(name).and_then(serde_json::Value::as_u64).unwrap_or(0);
                table.row([
                    text("address").to_owned(),
                    text("slots").to_owned(),
                    count(number("keys")),
                    count(number("after-ms")),
                ]);
            }
            out.push_str(&table.render());
        }
        if list {
            let mut table = Table::new(&["kind", "object", "owner", "extension"]);
            for object in &self.objects {
                table.row([
                    object.kind.clone(),
                    object.name.clone(),
                    object.owner.clone(),
                    object.extension.clone().unwrap_or_default(),
                ]);
            }
            out.push_str(&table.render());
        } else if !self.objects.is_empty() {
            let mut kinds = BTreeMap::<&str, usize>::new();
            for object in self.objects.iter().filter(|object| object.extension.is_none()) {
                *kinds.entry(&object.kind).or_default() += 1;
            }
            let counts: Vec<String> =
                kinds.iter().map(|(kind, number)| format!("{kind}: {number}")).collect();
            out.push_str(&format!("objects (--objects lists them): {}\n", counts.join(", ")));
        }
        if let Some(details) = self.details.as_object() {
            for (key, value) in details {
                out.push_str(&format!("  {key}: {value}\n"));
            }
        }
        out
    }
}

impl InspectReport {
    /// The sources of a manifest.
    pub(crate) fn new(manifest: &repository::Manifest, sources: Vec<SourceInspection>) -> InspectReport {
        InspectReport {
            snapshot: manifest.id.to_string(),
            taken_at: manifest.taken_at,
            complete: manifest.complete,
            sources,
        }
    }

    /// Renders the report as text, with times in this zone.
    pub(crate) fn render(&self, list: bool, zone: chrono_tz::Tz) -> String {
        let incomplete = if self.complete { "" } else { " (INCOMPLETE)" };
        let mut out =
            format!("snapshot {}{incomplete}, {}\n", self.snapshot, super::time(self.taken_at, zone));
        for source in &self.sources {
            out.push('\n');
            out.push_str(&source.render(list));
        }
        out
    }
}
