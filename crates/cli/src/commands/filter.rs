//! Filter flags of the commands that work on part of a database.

use clap::Args;

use crate::endpoint::{Connection, Endpoint};
use crate::exit;

/// Which part of a PostgreSQL database. In patterns `*` matches any characters and `?` matches one; a table is named
/// with or without its schema, and includes its partitions, the tables that inherit from it and its chunks. A pattern
/// that matches nothing is an error. A snapshot of a part is marked as such wherever it is listed.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "PostgreSQL filter (patterns: * and ?)")]
pub(crate) struct FilterArgs {
    /// Include only these schemas; may be repeated
    #[arg(long, value_name = "PATTERN")]
    schema: Vec<String>,
    /// Exclude these schemas; may be repeated
    #[arg(long, value_name = "PATTERN")]
    exclude_schema: Vec<String>,
    /// Include only these tables and what belongs to them; may be repeated
    #[arg(long, value_name = "PATTERN")]
    table: Vec<String>,
    /// Exclude these tables; may be repeated
    #[arg(long, value_name = "PATTERN")]
    exclude_table: Vec<String>,
    /// Exclude the rows of these tables; may be repeated
    #[arg(long, value_name = "PATTERN")]
    exclude_table_data: Vec<String>,
    /// Include only some rows of a table, such as "orders=made > now() - interval '1 year'"; may be repeated
    #[arg(long = "where", value_name = "TABLE=CONDITION")]
    conditions: Vec<String>,
}

impl FilterArgs {
    /// The filter that the flags describe; everything if no flag is given.
    pub(crate) fn filter(&self) -> anyhow::Result<pgmove::Filter> {
        let mut filter = pgmove::Filter {
            schemas: self.schema.clone(),
            exclude_schemas: self.exclude_schema.clone(),
            tables: self.table.clone(),
            exclude_tables: self.exclude_table.clone(),
            exclude_table_data: self.exclude_table_data.clone(),
            ..pgmove::Filter::default()
        };
        for pair in &self.conditions {
            match pair.split_once('=') {
                Some((table, condition)) if !table.trim().is_empty() && !condition.trim().is_empty() => {
                    let clause = filter.conditions.entry(table.trim().to_owned()).or_default();
                    *clause = match clause.is_empty() {
                        true => condition.trim().to_owned(),
                        // Several conditions on one table are combined.
                        false => format!("({clause}) AND ({})", condition.trim()),
                    };
                }
                _ => return Err(exit::usage(format!("--where expects TABLE=CONDITION, got `{pair}`"))),
            }
        }
        Ok(filter)
    }

    /// Replaces the configured filters of these sources with that of the flags. Returns true if any flag was given.
    pub(crate) fn apply(&self, endpoints: &mut [Endpoint]) -> anyhow::Result<bool> {
        let filter = self.filter()?;
        if filter.is_all() {
            return Ok(false);
        }
        let mut used = false;
        for endpoint in endpoints.iter_mut() {
            if matches!(endpoint.connection, Connection::Postgres(_)) {
                endpoint.filter = filter.clone();
                used = true;
            }
        }
        if !used {
            return Err(exit::usage(
                "--schema, --table and the other filters apply to PostgreSQL, and no PostgreSQL database is selected",
            ));
        }
        Ok(true)
    }
}
