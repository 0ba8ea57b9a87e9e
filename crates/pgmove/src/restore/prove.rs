//! Verifies a restored target: tables are read back by digest, the schema as statements.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::plan::IntoExisting;
use super::{Existing, RestorePlan, Target, read_back, tablespaces};
use crate::Error;
use crate::catalog::{Catalog, QualifiedName, large_objects_table};
use crate::compare::schema::Scope;
use crate::compare::{self, SchemaDifference, SchemaProof};
use crate::copy_format::CopyFormat;
use crate::ddl::{RenderOptions, Section};
use crate::digest::TableProof;
use crate::dump::copy_out::drain;
use crate::dump::copy_reader::CopyReader;
use crate::dump::copy_statement::CopySource;
use crate::dump::{PageRange, SLICE_PAGES, ranges};
use crate::timescaledb::lookup;

fn stop_jobs(catalog: &mut Catalog) {
    let jobs = catalog.timescale.iter_mut().flat_map(|timescale| &mut timescale.jobs);
    jobs.for_each(|job| job.scheduled = false);
}

impl Target {
    /// Reads a table back and digests it, in parallel if the table is large. Rows that it contained before are
    /// subtracted.
    pub async fn prove(&self, plan: &RestorePlan, table: &QualifiedName) -> Result<TableProof, Error> {
        self.prove_of_size(plan, table, true).await
    }

    /// The same; the size of a small table is not queried.
    pub(super) async fn prove_of_size(
        &self,
        plan: &RestorePlan,
        table: &QualifiedName,
        large: bool,
    ) -> Result<TableProof, Error> {
        let proof = self.read_back(plan, table, large).await?;
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner).get(table).copied();
        Ok(proof.without(before.unwrap_or_default()))
    }

    /// Digests the rows of a refreshed materialized view, with the catalog's columns: to be compared with
    /// [`Source::digest`](crate::Source::digest).
    pub async fn prove_view(&self, catalog: &Catalog, view: &QualifiedName) -> Result<TableProof, Error> {
        let columns = catalog.table(view).map(|table| table.columns.as_slice()).unwrap_or_default();
        let columns: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        let wanted = CopySource {
            table: view,
            columns: &columns,
            pages: None,
            relation: Some(view),
            condition: "",
            chosen: None,
            casts: &BTreeMap::new(),
            format: CopyFormat::Text,
        };
        self.read(wanted).await
    }

    async fn read(&self, wanted: CopySource<'_>) -> Result<TableProof, Error> {
        drain(CopyReader::start(&self.readers, wanted, self.context.options.idle_timeout).await?).await
    }

    /// Reads the schema back and compares it with the expected one, including owners and privileges if they were
    /// restored: completely if the database was empty; otherwise only the restored part. Parts that were not restored
    /// are not compared, and the proof says so.
    pub async fn prove_schema(&self, plan: &RestorePlan, catalog: &Catalog) -> Result<SchemaProof, Error> {
        let sections = self.context.options.sections;
        if let Some(into) = &plan.into {
            return self.prove_sequences(into).await;
        }
        let mut scope = Scope {
            ours: !matches!(self.context.options.existing, Existing::Refuse | Existing::Resume)
                || !catalog.filter.is_all(),
            restored: true,
            settings: false,
            sections: Vec::new(),
        };
        if sections.pre_data {
            scope.sections.push(Section::PreData);
        }
        if sections.data {
            scope.sections.push(Section::Data);
        }
        if sections.post_data {
            scope.sections.extend([Section::PostData, Section::Privileges, Section::Finish]);
        }
        if sections.pre_data && sections.post_data {
            // Views that are not populated yet are ignored below; definitions may be in any section.
            scope.sections = vec![];
        }
        let wanted = RenderOptions {
            privileges_for: Some(self.server().version_num),
            ..self.render_options().comparing(catalog.server_version_num, self.server().version_num)
        };
        let found = RenderOptions { role_map: Default::default(), ..wanted.clone() };
        let other = self.readers.get().await?;
        let mut here =
            read_back::read_catalog_on_two(&self.context.session, other.session(), &catalog.filter).await?;
        other.give_back();
        let mut left = tablespaces::mapped(&self.context.session, catalog, &self.context.options).await?;
        // They are started after verification.
        stop_jobs(&mut here);
        if left.timescale.is_some() {
            let left = left.to_mut();
            stop_jobs(left);
            lookup::settle_owners(left, &here, &wanted);
        }
        if !sections.data {
            // Values, and the contents of refreshed objects, cannot be missing if they were not restored.
            compare::schema::without_data(left.to_mut());
            compare::schema::without_data(&mut here);
        }
        compare::schema::prove(&left, &wanted, &here, &found, &scope)
    }

    /// Rows were restored into an existing schema: only definitions of sequences can be compared.
    async fn prove_sequences(&self, into: &IntoExisting) -> Result<SchemaProof, Error> {
        let mut differences = Vec::new();
        let lease = self.readers.get().await?;
        for (name, last, called) in &into.values {
            let sql = format!("SELECT last_value, is_called FROM {name}");
            let object = format!("sequence {name}");
            let row = lease.session().query(&object, &sql).await?.into_iter().next().unwrap_or_default();
            let mut fields = row.into_iter().flatten();
            let stands = fields.next().and_then(|value| value.parse::<i64>().ok());
            let given = fields.next().as_deref() == Some("t");
            let right = match into.append {
                true => stands.is_some_and(|stands| stands >= *last),
                false => stands == Some(*last) && given == *called,
            };
            if !right {
                let shown = |last: Option<i64>, called: bool| {
                    vec![format!(
                        "last value {}, given: {called}",
                        last.map_or_else(String::new, |n| n.to_string())
                    )]
                };
                differences.push(SchemaDifference {
                    object,
                    left: shown(Some(*last), *called),
                    right: shown(stands, given),
                });
            }
        }
        lease.give_back();
        Ok(SchemaProof {
            objects: into.values.len(),
            differences,
            not_compared: vec![
                "definitions: the schema already existed; only rows, values of sequences and materialized views were restored"
                    .to_owned(),
            ],
            outside: compare::schema::OUTSIDE,
            same_version: true,
        })
    }

    pub(super) async fn read_back(
        &self,
        plan: &RestorePlan,
        table: &QualifiedName,
        large: bool,
    ) -> Result<TableProof, Error> {
        let how = plan.table(table);
        let whole = how.condition.is_empty() && how.casts.is_empty() && *table != large_objects_table();
        let splits = large && self.server().version_num >= 140_000 && whole && !how.divided;
        let at = self.context.place(table).unwrap_or_else(|| table.clone());
        // A hypertable is read chunk by chunk, except if it has no chunks or if only part of it is restored.
        let chunks = match plan.hypertables.contains(table) || at != *table {
            true if whole => Some(lookup::chunks(&self.context.session, &at).await?),
            true => Some(Vec::new()),
            false => None,
        };
        let pieces: Vec<(Option<PageRange>, Option<QualifiedName>)> = match chunks {
            None if how.divided => vec![(None, Some(at))],
            Some(chunks) if chunks.is_empty() => vec![(None, Some(at))],
            Some(chunks) => chunks.into_iter().map(|chunk| (None, Some(chunk))).collect(),
            None => {
                let ranges = if splits { ranges(self.pages(table).await?, SLICE_PAGES) } else { None };
                match ranges {
                    None => vec![(None, None)],
                    Some(ranges) => ranges.into_iter().map(|pages| (Some(pages), None)).collect(),
                }
            }
        };
        stream::iter(pieces)
            .map(|(pages, relation)| {
                let (columns, condition, casts) = (&how.columns, &how.condition, &how.casts);
                async move {
                    let relation = relation.as_ref();
                    let wanted = CopySource {
                        table,
                        columns,
                        pages,
                        relation,
                        condition,
                        chosen: None,
                        casts,
                        format: CopyFormat::Text,
                    };
                    self.read(wanted).await
                }
            })
            .buffer_unordered(self.context.options.jobs.max(1))
            .try_fold(TableProof::default(), |sum, proof| async move { Ok(sum + proof) })
            .await
    }

    async fn pages(&self, table: &QualifiedName) -> Result<u64, Error> {
        let name = crate::quote::literal(&table.to_string());
        let sql = format!("SELECT pg_relation_size({name}::regclass) / current_setting('block_size')::int8");
        let pages = self.context.session.value(&format!("table {table}"), &sql).await?;
        Ok(pages.and_then(|n| n.parse().ok()).unwrap_or(0))
    }
}
