//! A PostgreSQL schema as two scripts for psql, stored beside the catalog.
//!
//! dbhaul itself never reads them: it renders the catalog anew, for whatever version it restores into. They are for the
//! day on which nobody has dbhaul: what stands before the rows, and what after, so that a snapshot can be restored with
//! stock tools alone (docs/restore-by-hand.md).

use std::convert::Infallible;

use pgmove::ddl::{RenderOptions, Section};
use pgmove::{Catalog, ddl, sql};
use repository::{Part, PartHeader, SnapshotWriter};

use crate::jobs::record::PART_SQL;

/// Writes both scripts, for the version that the catalog was read from.
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

/// What comes before the rows, and what after them. They are for one session: the second leans on settings of the first.
fn scripts(catalog: &Catalog) -> anyhow::Result<(String, String)> {
    let version = catalog.server_version_num;
    let options = RenderOptions::default();
    let script = ddl::render(catalog, version, &options)?;
    let mut before = sql::header(catalog, version);
    for role in ddl::required_roles(catalog, &options).keys() {
        // A comment ends with its line, and a name may hold a newline.
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
    after.push_str("-- the end: a script without this line is not whole\n");
    Ok((before, after))
}
