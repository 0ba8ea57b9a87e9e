//! A database as a script for `psql`: statements, and rows in COPY blocks.
//!
//! Names are untrusted. In statements they are quoted. A comment ends with its line, so that a newline in a name would
//! begin a statement (CVE-2025-8714): in comments, control characters are escaped.

pub mod psql;

use crate::catalog::{Catalog, LeftOut, QualifiedName, large_objects_table};
use crate::connect::value_settings::ValueSettings;
use crate::ddl::{SESSION, Section, Statement};
use crate::quote::{ident, one_line};
use crate::timescaledb::model::Aggregate;

/// The beginning of a script: its origin, and the settings that its statements need.
pub fn header(catalog: &Catalog, target_version_num: u32) -> String {
    let database = &catalog.database.meta.name;
    let mut out = format!(
        "-- Database {}, read from PostgreSQL {}; written for PostgreSQL {} and newer\n\n",
        one_line(database),
        catalog.server_version_num / 10_000,
        target_version_num / 10_000
    );
    for setting in ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"] {
        out += &format!("SET {setting} = 0;\n");
    }
    if target_version_num >= 170_000 {
        out += "SET transaction_timeout = 0;\n";
    }
    // Values of type `money` are read in the format in which they were written.
    out += "SET lc_monetary = 'C';\nSET DateStyle = 'ISO, YMD';\n";
    out += &format!("SET client_encoding = '{}';\n", client_encoding(catalog));
    for (name, value) in SESSION {
        out += &format!("SET {name} = {value};\n");
    }
    out.push('\n');
    out
}

/// The source's settings for evaluating its expressions: without `views`, those under which rows can be read, to
/// precede the rows; with `views`, all of them, to precede the refresh of materialized views.
pub fn value_settings(catalog: &Catalog, views: bool) -> String {
    let settings = ValueSettings::of(&catalog.database).as_script(views);
    if settings.is_empty() { settings } else { format!("-- as at the source\n{settings}\n") }
}

/// The encoding of the rows in the script.
fn client_encoding(catalog: &Catalog) -> &str {
    match catalog.database.encoding.as_str() {
        "SQL_ASCII" => "SQL_ASCII",
        _ => "UTF8",
    }
}

/// Parts of a TimescaleDB database that a script cannot contain: TimescaleDB's functions create them in an order that
/// depends on the rows. A restore includes all of them.
pub fn left_out(catalog: &Catalog) -> Vec<LeftOut> {
    let Some(timescale) = &catalog.timescale else { return Vec::new() };
    let rows = |aggregate: &Aggregate| LeftOut::AggregateRows { aggregate: aggregate.name.clone() };
    let compressed = timescale.hypertables.iter().filter(|table| table.compression.is_some());
    let compressed = compressed.map(|table| LeftOut::Compression { table: table.name.clone() });
    let jobs = timescale.jobs.iter().map(|job| LeftOut::Job { title: job.title.clone() });
    timescale.aggregates.iter().map(rows).chain(compressed).chain(jobs).collect()
}

/// The same as SQL comments; empty if nothing is left out.
pub fn left_out_comments(catalog: &Catalog) -> String {
    left_out(catalog).iter().map(|what| format!("-- left out: {what}\n")).collect()
}

/// The statements of one section, in the order in which a restore runs them.
pub fn section(statements: &[Statement], section: Section) -> impl Iterator<Item = String> + '_ {
    statements.iter().filter(move |statement| statement.section == section).map(statement)
}

fn statement(statement: &Statement) -> String {
    format!(
        "-- {}\n{};\n\n",
        one_line(&statement.object.to_string()),
        statement.sql.trim_end().trim_end_matches(';')
    )
}

/// The lines before the rows of a table.
pub fn copy_begin(table: &QualifiedName, columns: &[String]) -> String {
    let shown = one_line(&table.to_string());
    if *table == large_objects_table() {
        return "-- bytes of large objects\nBEGIN;\n".to_owned();
    }
    let columns: Vec<_> = columns.iter().map(|column| ident(column)).collect();
    let list = if columns.is_empty() { String::new() } else { format!(" ({})", columns.join(", ")) };
    format!("-- rows of {shown}\nCOPY {table}{list} FROM stdin;\n")
}

/// The lines after the rows of a table.
pub fn copy_end(table: &QualifiedName) -> &'static str {
    if *table == large_objects_table() { "COMMIT;\n\n" } else { "\\.\n\n" }
}

/// A row of large object data as a statement. Rows of other tables are written unchanged.
pub fn large_object_row(row: &str) -> Option<String> {
    let mut fields = row.trim_end_matches('\n').splitn(3, '\t');
    let object: u32 = fields.next()?.parse().ok()?;
    let offset: i64 = fields.next()?.parse().ok()?;
    let digits = fields.next()?.strip_prefix("\\\\x")?;
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    Some(format!("SELECT pg_catalog.lo_put({object}, {offset}, '\\x{digits}');\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_comment() {
        let begin = copy_begin(&QualifiedName::new("s", "t\nDROP TABLE x; --\r"), &["a\nb".to_owned()]);
        let first = begin.lines().next().unwrap();
        assert_eq!(first, "-- rows of s.\"t\\nDROP TABLE x; --\\r\"");
        assert!(begin.ends_with("COPY s.\"t\nDROP TABLE x; --\r\" (\"a\nb\") FROM stdin;\n"));
    }

    #[test]
    fn bytes_become_statements() {
        assert_eq!(
            large_object_row("7\t0\t\\\\x00ff\n").unwrap(),
            "SELECT pg_catalog.lo_put(7, 0, '\\x00ff');\n"
        );
        assert_eq!(large_object_row("7\t0\t\\\\x'); DROP"), None);
    }
}
