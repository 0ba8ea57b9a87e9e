//! Flags of every command that takes a part of a database.

use clap::Args;

use crate::endpoint::{Connection, Endpoint};
use crate::exit;

/// Which part of a PostgreSQL database. In patterns `*` stands for any characters and `?` for one; a table is named
/// with or without its schema. A snapshot that is not of the whole database says so wherever it is listed.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Part of a database")]
pub(crate) struct FilterArgs {
    /// Only what lives in these schemas; may be repeated
    #[arg(long, value_name = "PATTERN")]
    schema: Vec<String>,
    /// Nothing that lives in these schemas; may be repeated
    #[arg(long, value_name = "PATTERN")]
    exclude_schema: Vec<String>,
    /// Only these tables and what belongs to them; may be repeated
    #[arg(long, value_name = "PATTERN")]
    table: Vec<String>,
    /// Not these tables; may be repeated
    #[arg(long, value_name = "PATTERN")]
    exclude_table: Vec<String>,
    /// These tables without their rows; may be repeated
    #[arg(long, value_name = "PATTERN")]
    exclude_table_data: Vec<String>,
    /// Only some rows of a table: `orders=made > now() - interval '1 year'`; may be repeated
    #[arg(long = "where", value_name = "TABLE=CONDITION")]
    conditions: Vec<String>,
}

impl FilterArgs {
    /// The flags as a filter; everything when there are none.
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
                    filter.conditions.insert(table.trim().to_owned(), condition.trim().to_owned());
                }
                _ => return Err(exit::usage(format!("--where wants TABLE=CONDITION, and got `{pair}`"))),
            }
        }
        Ok(filter)
    }

    /// Lets the flags stand in the place of what the configuration says of these sources. True when there are any.
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
                "--schema, --table and their like choose a part of a PostgreSQL database, and none is meant here",
            ));
        }
        Ok(true)
    }
}
