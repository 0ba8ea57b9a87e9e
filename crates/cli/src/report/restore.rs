//! Report of a restore, a migration or a rehearsal: what was loaded, and what was verified.

use serde::Serialize;

use super::tables::{self, TableOutcome, ViewOutcome};
use crate::exit::Exit;
use crate::report::resumed::Resumed;
#[cfg(feature = "demo")]
use crate::ui::count;

/// The outcome for all targets of one run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct RestoreReport {
    /// The snapshot's id, or the server that was read.
    pub(crate) from: String,
    /// One outcome per target.
    pub(crate) targets: Vec<TargetOutcome>,
}

/// The outcome for one target.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct TargetOutcome {
    /// The source's name.
    pub(crate) source: String,
    /// The server as it identifies itself.
    pub(crate) server: String,
    /// What was loaded and verified.
    #[serde(flatten)]
    pub(crate) result: TargetResult,
    /// Outcome for the users of a Redis server, if they were requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) access: Option<redisdump::AccessReport>,
    /// Replication offsets of a live Redis source at capture and at the end, if it was written to meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note_source_writes: Option<SourceWrites>,
}

/// A source that was written to while it was copied.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct SourceWrites {
    /// Replication offset of the capture.
    pub(crate) captured: Option<i64>,
    /// Replication offset at the end.
    pub(crate) now: Option<i64>,
}

/// What was verified of a database.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct PostgresOutcome {
    /// What was kept of an interrupted run, if it was resumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resumed: Option<Resumed>,
    /// Proof of each table; `None` with `--no-proof`.
    pub(crate) tables: Option<Vec<TableOutcome>>,
    /// Content of materialized views after the refresh, compared with the source.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) views: Vec<ViewOutcome>,
    /// Proof of the schema, except for parts that were not restored.
    pub(crate) schema: Option<pgmove::SchemaProof>,
    /// Result of the baseline check, if there is a baseline.
    pub(crate) baseline: Option<pgmove::baseline::CheckOutcome>,
    /// Statements that the server rejected while the run continued.
    pub(crate) failures: Vec<pgmove::Failure>,
}

/// What was loaded and verified, by kind.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub(crate) enum TargetResult {
    /// A database.
    #[serde(rename_all = "kebab-case")]
    Postgres(Box<PostgresOutcome>),
    /// A Redis server.
    #[serde(rename_all = "kebab-case")]
    Redis {
        /// What was restored.
        restored: Box<redisdump::RestoreReport>,
        /// The comparison; `None` with `--no-proof`.
        proof: Option<Box<redisdump::Comparison>>,
    },
    /// A Redis server into which an append-only file was replayed.
    #[serde(rename_all = "kebab-case")]
    Aof {
        /// Result of the replay.
        replayed: Box<redisdump::AofReport>,
    },
}

impl TargetOutcome {
    /// A database that was filled.
    pub(crate) fn postgres(
        source: &str,
        server: &pgmove::ServerIdentity,
        proven: PostgresOutcome,
    ) -> TargetOutcome {
        TargetOutcome {
            source: source.to_owned(),
            server: server.to_string(),
            result: TargetResult::Postgres(Box::new(proven)),
            access: None,
            note_source_writes: None,
        }
    }

    /// A Redis server that was filled.
    pub(crate) fn redis(
        source: &str,
        restored: redisdump::RestoreReport,
        proof: Option<redisdump::Comparison>,
    ) -> TargetOutcome {
        TargetOutcome {
            source: source.to_owned(),
            server: restored.server.to_string(),
            result: TargetResult::Redis { restored: Box::new(restored), proof: proof.map(Box::new) },
            access: None,
            note_source_writes: None,
        }
    }

    /// A Redis server into which an append-only file was replayed.
    pub(crate) fn aof(source: &str, replayed: redisdump::AofReport) -> TargetOutcome {
        TargetOutcome {
            source: source.to_owned(),
            server: replayed.server.to_string(),
            result: TargetResult::Aof { replayed: Box::new(replayed) },
            access: None,
            note_source_writes: None,
        }
    }

    /// Records that the source was written to meanwhile, if it was.
    pub(crate) fn note_source_writes(
        &mut self,
        captured: redisdump::WritePosition,
        now: redisdump::WritePosition,
    ) {
        if captured.written_until(&now) == Some(true) {
            self.note_source_writes = Some(SourceWrites { captured: captured.offset, now: now.offset });
        }
    }

    /// Whether every check passed.
    pub(crate) fn passed(&self) -> bool {
        match &self.result {
            TargetResult::Postgres(proven) => {
                proven.failures.is_empty()
                    && proven.tables.iter().flatten().all(|table| table.equal)
                    && proven.schema.as_ref().is_none_or(pgmove::SchemaProof::holds)
                    && proven.baseline.as_ref().is_none_or(|verdict| verdict.passed)
            }
            TargetResult::Redis { restored, proof } => {
                restored.evicted == 0 && proof.as_ref().is_none_or(|comparison| comparison.equal())
            }
            TargetResult::Aof { replayed } => replayed.refusals == 0 && replayed.evicted == 0,
        }
    }

    fn render(&self) -> String {
        let mut out = format!("{} -> {}\n", self.source, self.server);
        match &self.result {
            TargetResult::Postgres(proven) => {
                let PostgresOutcome { resumed, tables, views, schema, baseline, failures } = &**proven;
                out.extend(resumed.as_ref().map(Resumed::render));
                match tables {
                    Some(outcomes) => out.push_str(&tables::render(outcomes)),
                    None => out.push_str("not verified: the target was not read back\n"),
                }
                out.push_str(&tables::render_views(views));
                if let Some(schema) = schema {
                    out.push_str(&render_schema(schema));
                }
                if let Some(verdict) = baseline {
                    out.push_str(&format!("schema baseline: {verdict}\n"));
                }
                for failure in failures {
                    out.push_str(&format!("REFUSED: {}\n", failure.error.replace('\n', "\n  ")));
                }
                if !failures.is_empty() {
                    out.push_str(&format!(
                        "{} statements were rejected by the server; everything else was restored\n",
                        failures.len()
                    ));
                }
            }
            TargetResult::Redis { restored, proof } => {
                out.push_str(&format!("{restored}\n"));
                match proof {
                    Some(comparison) => out.push_str(&format!("{comparison}\n")),
                    None => out.push_str("not verified: the target was not read back\n"),
                }
            }
            TargetResult::Aof { replayed } => {
                out.push_str(&format!("{replayed}\n"));
                out.push_str(
                    "not verified key by key: only replaying an append-only file shows what it holds. ",
                );
                out.push_str(match replayed.errors {
                    0 => "Verified: the server answered every command without an error\n",
                    _ => "Verified: the server answered every command, and all but those named above without an error\n",
                });
            }
        }
        if let Some(SourceWrites { captured, now }) = &self.note_source_writes {
            let shown =
                |offset: &Option<i64>| offset.map_or_else(|| "not known".to_owned(), |n| n.to_string());
            out.push_str(&format!(
                "the source was written to meanwhile, and writes after the capture are not in the target (replication \
                 offset at the capture: {}, now: {})\n",
                shown(captured),
                shown(now)
            ));
        }
        out.extend(self.access.as_ref().map(|access| format!("{access}\n")));
        out
    }

    /// One line: how much was verified.
    #[cfg(feature = "demo")]
    pub(crate) fn summary(&self) -> String {
        let verdict = if self.passed() { "equal" } else { "DIFFERENT" };
        match &self.result {
            TargetResult::Postgres(proven) => {
                let Some(tables) = &proven.tables else { return format!("{}: not verified", self.source) };
                let rows: u64 = tables.iter().map(|table| table.found.rows).sum();
                format!("{}: {} tables, {} rows, {verdict}", self.source, tables.len(), count(rows))
            }
            TargetResult::Redis { proof: Some(proof), restored } => {
                let apart = match proof.unverified() {
                    0 => String::new(),
                    keys => format!(", {} of them not verified (values of modules)", count(keys)),
                };
                format!("{}: {} keys, {verdict}{apart}", self.source, count(restored.keys))
            }
            _ => format!("{}: not verified", self.source),
        }
    }
}

/// The schema's proof on one line, and each difference in full.
fn render_schema(schema: &pgmove::SchemaProof) -> String {
    let mut out = match schema.differences.len() {
        0 if schema.objects == 0 => String::new(),
        0 => format!("schema equal: {} objects\n", schema.objects),
        number if schema.same_version => {
            format!("schema DIFFERENT: {number} of {} objects\n", schema.objects)
        }
        number => format!(
            "schema: {number} of {} objects are printed differently by this version of the server; check whether they are equivalent\n",
            schema.objects
        ),
    };
    for difference in &schema.differences {
        out.push_str(&format!("  {}\n", difference.object));
        let mut lines = |side: &str, statements: &[String]| {
            for sql in statements {
                out.push_str(&format!("    {side}: {}\n", sql.replace('\n', "\n      ")));
            }
        };
        lines("source", &difference.left);
        lines("target", &difference.right);
    }
    out.extend(schema.not_compared.iter().map(|what| format!("not compared: {what}\n")));
    if !out.is_empty() {
        out.push_str(&format!("never compared: {}\n", schema.outside.join("; ")));
    }
    out
}

impl RestoreReport {
    /// A restore from these snapshots; usually from one.
    pub(crate) fn new(manifests: &[repository::Manifest], targets: Vec<TargetOutcome>) -> RestoreReport {
        let mut ids: Vec<&str> = manifests.iter().map(|manifest| manifest.id.as_str()).collect();
        ids.dedup();
        RestoreReport { from: format!("snapshot {}", ids.join(", ")), targets }
    }

    /// A migration.
    pub(crate) fn migrated(from: &str, target: TargetOutcome) -> RestoreReport {
        RestoreReport { from: from.to_owned(), targets: vec![target] }
    }

    /// Whether every check passed, on all targets.
    pub(crate) fn passed(&self) -> bool {
        self.targets.iter().all(TargetOutcome::passed)
    }

    /// 0; 4 if a statement was rejected while the run continued; 3 if a check failed.
    pub(crate) fn exit(&self) -> Exit {
        let refused = |target: &TargetOutcome| match &target.result {
            TargetResult::Postgres(proven) => !proven.failures.is_empty(),
            TargetResult::Aof { replayed } => replayed.refusals > 0,
            TargetResult::Redis { .. } => false,
        };
        if self.passed() {
            Exit::Done
        } else if self.targets.iter().any(refused) {
            Exit::Partial
        } else {
            Exit::Differs
        }
    }

    /// Renders the report as text.
    pub(crate) fn render(&self) -> String {
        let mut out = format!("from {}\n", self.from);
        for target in &self.targets {
            out.push('\n');
            out.push_str(&target.render());
        }
        out
    }
}
