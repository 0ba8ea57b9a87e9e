//! A PostgreSQL schema as two psql scripts, stored next to the catalog.
//!
//! dbhaul never reads them: it renders the catalog again for the target version. They allow a restore with stock
//! tools alone (docs/restore-by-hand.md): one script runs before the rows, one after them.

use std::convert::Infallible;

use pgmove::ddl::{RenderOptions, Section};
use pgmove::{Catalog, ddl, sql};
use repository::{Part, PartHeader, SnapshotWriter};

use crate::jobs::record::PART_SQL;

/// Stores both scripts, for the version that the catalog was read from.
pub(crate) async fn write(
    source: &str,
    catalog: &Catalog,
    writer: &SnapshotWriter,
) -> anyhow::Result<Vec<Part>> {
    let (before, after) = scripts(catalog)?;
    let mut parts = Vec::new();
    for (name, text) in [("before-rows.sql", before), ("after-rows.sql", after)] {
        let header = PartHeader::new(format!("{source}/{name}"), PART_SQL);
        let bytes = futures::stream::iter([Ok::<_, Infallible>(bytes::Bytes::from(text))]);
        parts.push(writer.write_part(header, bytes).await?);
    }
    Ok(parts)
}

/// The scripts to run before and after the rows, in one session: the second depends on settings of the first.
fn scripts(catalog: &Catalog) -> anyhow::Result<(String, String)> {
    let version = catalog.server_version_num;
    let options = RenderOptions::default();
    let script = ddl::render(catalog, version, &options)?;
    let mut before = sql::header(catalog, version);
    for role in ddl::required_roles(catalog, &options).keys() {
        // A name may contain a newline, which would end the comment.
        before += &format!("-- the server must have the role {}\n", role.escape_debug());
    }
    before.extend(sql::section(&script.statements, Section::PreData));
    before += &sql::value_settings(catalog, false);
    let after = [Section::Data, Section::PostData, Section::Privileges];
    let mut after: String =
        after.into_iter().flat_map(|section| sql::section(&script.statements, section)).collect();
    after += &sql::value_settings(catalog, true);
    after.extend(sql::section(&script.statements, Section::Finish));
    after.push_str(&sql::left_out_comments(catalog));
    after.push_str("-- the end: a script without this line is incomplete\n");
    Ok((before, after))
}
