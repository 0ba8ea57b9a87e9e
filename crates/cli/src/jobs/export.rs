//! Export: writes repository parts as a script that needs no dbhaul.

use std::io::Write;

use anyhow::Context as _;
use futures::stream::TryStreamExt as _;
use pgmove::ddl::{RenderOptions, Section};
use pgmove::sql;
use repository::Repository;

use crate::config::Kind;
use crate::exit;
use crate::jobs::find::{self, Ask};
use crate::jobs::parts::{narrowed, read_catalog, source_for};
use crate::jobs::record::{CopyAttributes, PART_COPY, PART_FILE, PostgresDetails, typed};
use crate::jobs::series::Series;
use crate::ui::Progress;

/// A row of a large object holds 256 KiB as hexadecimal digits, and a piece of the stream several rows.
const LARGEST_ROW: usize = 32 << 20;

/// Settings of an export.
pub(crate) struct Export<'a> {
    /// Repository to read.
    pub(crate) repository: &'a Repository,
    /// Snapshot to export.
    pub(crate) snapshot: &'a str,
    /// Series that `latest` refers to.
    pub(crate) series: &'a Series,
    /// Source to export.
    pub(crate) source: Option<&'a str>,
    /// PostgreSQL major version to write for; `None` for that of the source.
    pub(crate) version: Option<u32>,
    /// Part of the database to export.
    pub(crate) filter: pgmove::Filter,
    /// Include rows.
    pub(crate) rows: bool,
    /// What to omit from the statements.
    pub(crate) render: RenderOptions,
    /// Progress display.
    pub(crate) progress: &'a Progress,
}

/// Writes the file of an imported dump byte for byte. Each chunk and the whole file's checksum are verified on the
/// way.
pub(crate) async fn imported(
    repository: &Repository,
    snapshot: &str,
    out: &mut dyn Write,
    progress: &Progress,
) -> anyhow::Result<()> {
    let manifest = repository.find(snapshot).await?;
    let part = manifest.parts().find(|(_, part)| part.kind == PART_FILE).map(|(_, part)| part);
    let Some(part) = part else {
        return Err(exit::usage(format!(
            "snapshot {} is not an imported dump; --format file is only for those",
            manifest.id
        )));
    };
    let task = progress.task(part.name.clone(), Some(part.bytes), "files");
    let mut stream = Box::pin(repository.read_part(part));
    while let Some(piece) = stream.try_next().await? {
        out.write_all(&piece)?;
        task.advance(piece.len() as u64, 0);
    }
    out.flush()?;
    task.finish();
    Ok(())
}

/// Writes a PostgreSQL source as a script for psql.
pub(crate) async fn sql(export: Export<'_>, out: &mut dyn Write) -> anyhow::Result<()> {
    let Export { repository, series, snapshot, progress, .. } = export;
    let ask = Ask::named_or(export.source, Kind::Postgres);
    let manifest = find::snapshot(repository, series, snapshot, ask, progress).await?;
    let source = source_for(&manifest, export.source, Kind::Postgres)?;
    let details: PostgresDetails = typed(source.details.clone(), &format!("source `{}`", source.name))?;
    if !details.filter.is_all() {
        export.progress.warn(format!(
            "source `{}` of this snapshot is only part of a database: {}",
            source.name, details.filter
        ));
    }
    let mut catalog = read_catalog(export.repository, source).await?;
    catalog.assume_settings(&details.state.settings);
    if !export.filter.is_all() {
        catalog = narrowed(catalog, &export.filter)?;
    }
    let version = export.version.map_or(catalog.server_version_num, |major| major * 10_000);
    let unsupported = pgmove::ddl::unsupported(&catalog, version);
    if !unsupported.is_empty() {
        let list: Vec<String> = unsupported.iter().map(ToString::to_string).collect();
        return Err(exit::refused(format!(
            "PostgreSQL {} cannot express all of this; nothing was written:\n  {}",
            version / 10_000,
            list.join("\n  ")
        )));
    }
    let script = pgmove::ddl::render(&catalog, version, &export.render)?;
    sql::psql::check(&script.statements)?;
    let left_out = catalog.left_out.iter().map(ToString::to_string);
    for warning in left_out.chain(script.warnings.iter().map(ToString::to_string)) {
        export.progress.warn(warning);
    }
    for what in sql::left_out(&catalog) {
        export.progress.warn(format!("a script cannot contain {what}"));
    }

    // An unpredictable key: data in the repository cannot contain it.
    out.write_all(sql::psql::restrict(&random_key()?).as_bytes())?;
    out.write_all(sql::header(&catalog, version).as_bytes())?;
    write_section(out, &script.statements, Section::PreData)?;
    out.write_all(sql::value_settings(&catalog, false).as_bytes())?;
    if export.rows {
        let wanted: std::collections::BTreeSet<pgmove::TableName> = catalog
            .data_tables()
            .map(|table| table.name())
            .chain(catalog.config_tables().map(|(table, _)| table.name()))
            .chain((!catalog.large_objects.is_empty()).then(pgmove::large_objects_table))
            .collect();
        let mut parts = Vec::new();
        for part in source.parts.iter().filter(|part| part.kind == PART_COPY) {
            let value = serde_json::Value::Object(part.attributes.clone());
            let described: CopyAttributes = typed(value, &format!("part `{}`", part.name))?;
            if wanted.contains(&described.table) {
                parts.push((part, described));
            }
        }
        // The configuration tables of an extension already have their foreign keys.
        let steps = catalog.config_steps();
        parts.sort_by_key(|(_, described)| steps.get(&described.table).copied().unwrap_or_default());
        for (part, described) in &parts {
            let task = export.progress.task(described.table.to_string(), Some(part.bytes), "rows");
            write_rows(export.repository, part, described, out, &task).await?;
            task.finish();
        }
        write_section(out, &script.statements, Section::Data)?;
    }
    write_section(out, &script.statements, Section::PostData)?;
    write_section(out, &script.statements, Section::Privileges)?;
    out.write_all(sql::value_settings(&catalog, true).as_bytes())?;
    write_section(out, &script.statements, Section::Finish)?;
    out.write_all(sql::left_out_comments(&catalog).as_bytes())?;
    out.write_all(sql::psql::unrestrict().as_bytes())?;
    out.write_all(b"-- the end: a script without this line is incomplete\n")?;
    out.flush()?;
    Ok(())
}

fn write_section(
    out: &mut dyn Write,
    statements: &[pgmove::ddl::Statement],
    section: Section,
) -> anyhow::Result<()> {
    for text in sql::section(statements, section) {
        out.write_all(text.as_bytes())?;
    }
    Ok(())
}

async fn write_rows(
    repository: &Repository,
    part: &repository::Part,
    described: &CopyAttributes,
    out: &mut dyn Write,
    task: &crate::ui::Task,
) -> anyhow::Result<()> {
    let begin = sql::copy_begin(&described.table, &described.columns);
    anyhow::ensure!(!begin.contains('\0'), "part `{}` names a table with a zero byte in its name", part.name);
    out.write_all(begin.as_bytes())?;
    let large = described.table == pgmove::large_objects_table();
    let mut stream = Box::pin(repository.read_part(part));
    let mut rest: Vec<u8> = Vec::new();
    let mut lines = sql::psql::RowLines::default();
    let refused = |why: String| exit::refused(format!("part `{}` of {}: {why}", part.name, described.table));
    while let Some(piece) = stream.try_next().await? {
        // Each row of COPY text is a line: line breaks within values are escaped.
        let rows = piece.iter().filter(|byte| **byte == b'\n').count();
        task.advance(piece.len() as u64, rows as u64);
        lines.push(&piece).map_err(refused)?;
        if !large {
            out.write_all(&piece)?;
            continue;
        }
        rest.extend_from_slice(&piece);
        anyhow::ensure!(rest.len() <= LARGEST_ROW, "a row of the large objects is damaged");
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let row: Vec<u8> = rest.drain(..=end).collect();
            let row = std::str::from_utf8(&row).ok().and_then(sql::large_object_row);
            out.write_all(row.context("a row of the large objects is damaged")?.as_bytes())?;
        }
    }
    lines.finish().map_err(refused)?;
    out.write_all(sql::copy_end(&described.table).as_bytes())?;
    Ok(())
}

/// An unpredictable key.
fn random_key() -> anyhow::Result<String> {
    use std::io::Read as _;
    let mut bytes = [0_u8; 24];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
