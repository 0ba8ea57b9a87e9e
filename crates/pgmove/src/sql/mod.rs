//! A database as a script that plain `psql` restores: statements, and rows in COPY blocks.
//!
//! Names are data of somebody else's making. In a statement they are quoted; in a comment, which ends with its line,
//! a newline in a name would begin a statement of its own (CVE-2025-8714): there every control character is written
//! as an escape.

pub mod psql;

use crate::catalog::{Catalog, QualifiedName, large_objects_table};
use crate::connect::value_settings::ValueSettings;
use crate::ddl::{SESSION, Section, Statement};
use crate::quote::ident;

/// The beginning: where it comes from, and the settings that every statement after it needs.
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
    // Money is read in the form that it was written in.
    out += "SET lc_monetary = 'C';\nSET DateStyle = 'ISO, YMD';\n";
    out += &format!("SET client_encoding = '{}';\n", client_encoding(catalog));
    for (name, value) in SESSION {
        out += &format!("SET {name} = {value};\n");
    }
    out.push('\n');
    out
}

/// The settings under which the source evaluates its own expressions: those that rows can be read under, to stand before
/// them, or all of them, to stand before the filling of materialized views.
pub fn value_settings(catalog: &Catalog, views: bool) -> String {
    let settings = ValueSettings::of(&catalog.database).as_script(views);
    if settings.is_empty() { settings } else { format!("-- as at the source\n{settings}\n") }
}

/// Rows are read in this encoding, and stand so in the script.
fn client_encoding(catalog: &Catalog) -> &str {
    match catalog.database.encoding.as_str() {
        "SQL_ASCII" => "SQL_ASCII",
        _ => "UTF8",
    }
}

/// What a script cannot say of a database with TimescaleDB, line by line: its functions do it, in an order that depends
/// on the rows. A restore does all of it.
pub fn left_out(catalog: &Catalog) -> Vec<String> {
    let Some(timescale) = &catalog.timescale else { return Vec::new() };
    let aggregates = timescale.aggregates.iter().map(|aggregate| {
        format!(
            "rows of continuous aggregate {}: refresh_continuous_aggregate makes those anew whose raw rows are left",
            one_line(&aggregate.name.to_string())
        )
    });
    let compressed = timescale.hypertables.iter().filter(|table| table.compression.is_some());
    let compressed =
        compressed.map(|table| format!("compression of hypertable {}", one_line(&table.name.to_string())));
    let jobs = timescale.jobs.iter().map(|job| format!("job {}", one_line(&job.title)));
    aggregates.chain(compressed).chain(jobs).collect()
}

/// The same as comments of a script; empty where nothing is left out.
pub fn left_out_comments(catalog: &Catalog) -> String {
    left_out(catalog).iter().map(|what| format!("-- left out: {what}\n")).collect()
}

/// The statements of a script in the order in which a restore runs them: all of one section.
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

/// What stands before the rows of a table.
pub fn copy_begin(table: &QualifiedName, columns: &[String]) -> String {
    let said = one_line(&table.to_string());
    if *table == large_objects_table() {
        return "-- bytes of large objects\nBEGIN;\n".to_owned();
    }
    let columns: Vec<_> = columns.iter().map(|column| ident(column)).collect();
    let list = if columns.is_empty() { String::new() } else { format!(" ({})", columns.join(", ")) };
    format!("-- rows of {said}\nCOPY {table}{list} FROM stdin;\n")
}

/// What stands after the rows of a table.
pub fn copy_end(table: &QualifiedName) -> &'static str {
    if *table == large_objects_table() { "COMMIT;\n\n" } else { "\\.\n\n" }
}

/// A row of large objects' bytes, as a statement. Rows of other tables stand as they are.
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

/// Text that cannot leave its line.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
                c.escape_default().to_string()
            } else {
                c.to_string()
            }
        })
        .collect()
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
