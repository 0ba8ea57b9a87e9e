//! The planner's statistics at the target: imported from the source if possible, otherwise collected by ANALYZE.

use std::collections::HashSet;

use super::imported::Imported;
use super::options::OnError;
use super::schedule::statistics_of;
use super::{RestorePlan, Target};
use crate::Error;
use crate::catalog::database::LocaleProvider;
use crate::catalog::table::{Table, TableKind};
use crate::catalog::{Catalog, QualifiedName};
use crate::statistics::{FIRST_VERSION, Statistics, TableStatistics, by_name, is_whole};
use crate::warning::Warning;

/// No statement is added to a message longer than this, in bytes.
const BYTES: usize = 128 << 10;

impl RestorePlan {
    /// Whether the planner's statistics of a table are imported; otherwise `ANALYZE` collects them.
    pub fn imports_statistics(&self, table: &QualifiedName) -> bool {
        self.statistics.tables.contains_key(table)
    }

    /// Whether a table gets exactly the rows that it has at the source. `parents` are the tables that others inherit from.
    fn takes_whole(&self, catalog: &Catalog, table: &Table, parents: &HashSet<u32>) -> bool {
        let name = table.name();
        let timescale = catalog.timescale.as_ref();
        let hypertable = timescale.is_some_and(|timescale| timescale.hypertable(table.meta.oid).is_some());
        let taken = match table.kind {
            // Rows routed at the target may end up in another partition.
            TableKind::Ordinary => {
                let plan = self.tables.get(&name).filter(|plan| plan.condition.is_empty());
                plan.is_some() && !parents.contains(&table.meta.oid) && !self.through.contains_key(&name)
            }
            TableKind::Partitioned => true,
            TableKind::MaterializedView => self.fills(&name),
            TableKind::View | TableKind::Foreign => false,
        };
        taken && !hypertable && is_whole(catalog, table)
    }
}

impl Target {
    /// Whether this target imports the planner's statistics of a source: both are of version 18 or later, and tables are
    /// created and filled, all or nothing.
    pub fn imports_statistics(&self, plan: &RestorePlan, catalog: &Catalog) -> bool {
        let options = &self.context.options;
        self.server().version_num >= FIRST_VERSION
            && catalog.server_version_num >= FIRST_VERSION
            && options.sections.data
            && options.on_error == OnError::Stop
            && plan.into.is_none()
    }

    /// Whether this database sorts text like that of the catalog: histograms of text are valid only for the same order.
    ///
    /// # Errors
    /// The server's error.
    pub async fn sorts_as(&self, catalog: &Catalog) -> Result<bool, Error> {
        let sql = "SELECT pg_encoding_to_char(encoding), datcollate, datctype, datlocprovider, datlocale, daticurules \
                   FROM pg_database WHERE datname = current_database()";
        let rows = self.context.session.query("the database's locale", sql).await?;
        let database = &catalog.database;
        let provider = match database.locale_provider {
            LocaleProvider::Libc => "c",
            LocaleProvider::Icu => "i",
            LocaleProvider::Builtin => "b",
        };
        let wanted = [
            Some(database.encoding.as_str()),
            Some(database.collate.as_str()),
            Some(database.ctype.as_str()),
            Some(provider),
            database.locale.as_deref(),
            database.icu_rules.as_deref(),
        ];
        Ok(rows.first().is_some_and(|row| row.iter().map(Option::as_deref).eq(wanted)))
    }

    /// Adds a source's statistics to the plan, for tables that are restored completely. Nothing is written; a graph
    /// built afterwards ([`Target::graph`]) imports them.
    pub fn use_statistics(&self, plan: &mut RestorePlan, catalog: &Catalog, statistics: Statistics) {
        if !self.imports_statistics(plan, catalog) {
            return;
        }
        let tables = by_name(catalog);
        let parents =
            catalog.tables.iter().flat_map(|table| &table.parents).map(|parent| parent.oid).collect();
        let wanted = |one: &TableStatistics| {
            tables.get(&one.table).is_some_and(|table| plan.takes_whole(catalog, table, &parents))
        };
        let tables = statistics.tables.into_iter().filter(wanted);
        let tables = tables.map(|one| (one.table.clone(), one)).collect();
        plan.statistics = Imported { version: statistics.server_version_num, tables };
    }

    /// Imports a table's statistics if the plan has them; otherwise collects them.
    pub(super) async fn import_or_collect_statistics(
        &self,
        plan: &RestorePlan,
        table: &QualifiedName,
    ) -> Result<(), Error> {
        match plan.imports_statistics(table) {
            true => self.import_statistics(plan, &[table]).await,
            false => self.analyze(plan, table).await,
        }
    }

    /// Imports the statistics of tables, many in one message, and collects those that the server rejects.
    pub(super) async fn import_statistics(
        &self,
        plan: &RestorePlan,
        tables: &[&QualifiedName],
    ) -> Result<(), Error> {
        let lease = self.context.workers.get().await?;
        let mut refused: Vec<(&QualifiedName, String)> = Vec::new();
        for message in messages(plan, tables) {
            let whole: Vec<&str> = message.iter().map(|(_, sql)| sql.as_str()).collect();
            match lease.session().query("the planner's statistics", &whole.join(";\n")).await {
                Ok(rows) if rows.len() == message.len() => {
                    let taken =
                        |row: &Vec<Option<String>>| row.first().cloned().flatten().as_deref() == Some("t");
                    let refusals = message.iter().zip(&rows).filter(|(_, row)| !taken(row));
                    refused.extend(refusals.map(|((table, _), _)| (*table, "the server warned".to_owned())));
                }
                Err(error) if error.is_lost() => return Err(error),
                // The server has rolled all of them back.
                _ => {
                    for (table, sql) in &message {
                        match lease.session().value(&statistics_of(table), sql).await {
                            Ok(taken) if taken.as_deref() == Some("t") => {}
                            Ok(_) => refused.push((table, "the server warned".to_owned())),
                            Err(error @ Error::Server { .. }) if !error.is_lost() => {
                                refused.push((table, error.to_string()));
                            }
                            Err(error) => return Err(error),
                        }
                    }
                }
            }
        }
        lease.give_back();
        for (table, why) in refused {
            self.context.warn(Warning::StatisticsRejected { table: table.clone(), detail: why });
            self.analyze(plan, table).await?;
        }
        Ok(())
    }

    /// The statement that collects a table's statistics. For a table with children, only its own: from 18 on `ANALYZE`
    /// would process the children again.
    pub(super) fn analyze_statement(&self, plan: &RestorePlan, table: &QualifiedName) -> String {
        let only = match plan.timescale {
            None if self.server().version_num >= FIRST_VERSION => "ONLY ",
            _ => "",
        };
        format!("ANALYZE {only}{table}")
    }
}

/// The queries that import statistics, cut into messages.
fn messages<'a>(plan: &RestorePlan, tables: &[&'a QualifiedName]) -> Vec<Vec<(&'a QualifiedName, String)>> {
    let mut all: Vec<Vec<(&QualifiedName, String)>> = Vec::new();
    let mut bytes = BYTES;
    for table in tables {
        let Some(statistics) = plan.statistics.tables.get(*table) else { continue };
        let sql = statistics.import(plan.statistics.version);
        if bytes >= BYTES {
            all.push(Vec::new());
            bytes = 0;
        }
        bytes += sql.len();
        if let Some(last) = all.last_mut() {
            last.push((table, sql));
        }
    }
    all
}
