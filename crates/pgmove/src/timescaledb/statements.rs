//! Statements that create hypertables, compression, aggregates and jobs.

use super::ranges;
use crate::catalog::QualifiedName;
use crate::ddl::RenderOptions;
use crate::quote::{ident, literal};
use crate::timescaledb::model::{Aggregate, Chunk, Compression, Dimension, Hypertable, Job, Timescale};

/// Name prefix of objects that describe a state, such as which chunks are compressed, rather than content.
pub(crate) const STATE: &str = "state of ";

/// A relation as a function argument.
fn relation(name: &QualifiedName) -> String {
    format!("{}::regclass", literal(&name.to_string()))
}

fn procedure(name: &QualifiedName) -> String {
    format!("{}::regproc", literal(&name.to_string()))
}

/// Turns an empty table into a hypertable, with all its dimensions.
pub(crate) fn create_hypertable(schema: &str, table: &Hypertable, tablespaces: bool) -> Vec<String> {
    let (schema, name) = (ident(schema), relation(&table.name));
    let mut out = Vec::new();
    for (at, dimension) in table.dimensions.iter().enumerate() {
        let column = literal(&dimension.column);
        let function = |argument: &str| {
            let function = dimension.function.as_ref().map(procedure);
            function.map(|function| format!(", {argument} => {function}")).unwrap_or_default()
        };
        let size = match (dimension.interval, dimension.partitions) {
            (Some(interval), _) => format!("chunk_time_interval => {interval}::bigint"),
            (None, partitions) => format!("number_partitions => {}", partitions.unwrap_or(1)),
        };
        out.push(match at {
            // Every version supports the form with separate arguments; only UUIDs need the newer one.
            0 if dimension.column_type == "uuid" => format!(
                "SELECT {schema}.create_hypertable({name}, {schema}.by_range({column}, {}::bigint{}), create_default_indexes => false)",
                dimension.interval.unwrap_or_default(),
                function("partition_func")
            ),
            0 => format!(
                "SELECT {schema}.create_hypertable({name}, {column}, {size}{}{}, create_default_indexes => false)",
                function("time_partitioning_func"),
                place_of_chunks(table)
            ),
            _ => format!(
                "SELECT {schema}.add_dimension({name}, {column}, {size}{})",
                function("partitioning_func")
            ),
        });
    }
    if tablespaces {
        // The table's own tablespace is attached automatically.
        out.extend(table.tablespaces.iter().map(|space| {
            format!("SELECT {schema}.attach_tablespace({}, {name}, if_not_attached => true)", literal(space))
        }));
    }
    out
}

/// Schema and prefix of chunks, if the user set them.
fn place_of_chunks(table: &Hypertable) -> String {
    let argument = |name: &str, value: &Option<String>| {
        value.as_ref().map(|value| format!(", {name} => {}", literal(value))).unwrap_or_default()
    };
    argument("associated_schema_name", &table.chunk_schema)
        + &argument("associated_table_prefix", &table.chunk_prefix)
}

/// Sets the interval of chunks that a hypertable will create in the future.
pub(crate) fn set_chunk_interval(schema: &str, table: &QualifiedName, interval: i64) -> String {
    format!("SELECT {}.set_chunk_time_interval({}, {interval}::bigint)", ident(schema), relation(table))
}

/// Whether a column's values are times, which the extension converts to microseconds.
pub(crate) fn is_time(column_type: &str) -> bool {
    matches!(column_type, "timestamp with time zone" | "timestamp without time zone" | "date")
}

/// The smallest value of a column's type, as an internal integer.
pub(crate) fn first_of(column_type: &str) -> i64 {
    match column_type {
        "smallint" => i64::from(i16::MIN),
        "integer" => i64::from(i32::MIN),
        kind if is_time(kind) => -210_866_803_200_000_000,
        _ => i64::MIN,
    }
}

/// An internal integer as a value of the column's type; `functions` is the schema of the extension's internal
/// functions.
pub(crate) fn value_of(functions: &str, column_type: &str, number: i64) -> String {
    match column_type {
        "timestamp with time zone" => format!("{functions}.to_timestamp({number})"),
        "timestamp without time zone" => format!("{functions}.to_timestamp_without_timezone({number})"),
        "date" => format!("{functions}.to_date({number})"),
        _ => format!("'{number}'::{column_type}"),
    }
}

/// Sets the function for the current time, if time is an integer.
pub(crate) fn integer_now(schema: &str, table: &Hypertable, dimension: &Dimension) -> Option<String> {
    let function = dimension.integer_now.as_ref()?;
    Some(format!(
        "SELECT {}.set_integer_now_func({}, {})",
        ident(schema),
        relation(&table.name),
        procedure(function)
    ))
}

/// An aggregate without rows and indexes; indexes have statements of their own.
pub(crate) fn create_aggregate(aggregate: &Aggregate) -> String {
    format!(
        "CREATE MATERIALIZED VIEW {} WITH (timescaledb.continuous, timescaledb.materialized_only = {}, \
         timescaledb.create_group_indexes = false) AS\n{}\nWITH NO DATA",
        aggregate.name,
        aggregate.materialized_only,
        aggregate.definition.trim_end().trim_end_matches(';')
    )
}

/// Enables compression for a `TABLE` or a `MATERIALIZED VIEW`.
pub(crate) fn set_compression(kind: &str, name: &QualifiedName, compression: &Compression) -> String {
    let mut settings = vec!["timescaledb.compress = true".to_owned()];
    // Written even if empty: if it is omitted, each version chooses its own default.
    if !compression.segment_by.is_empty() || !compression.order_by.is_empty() {
        let columns: Vec<_> = compression.segment_by.iter().map(|column| ident(column)).collect();
        settings.push(format!("timescaledb.compress_segmentby = {}", literal(&columns.join(", "))));
    }
    if !compression.order_by.is_empty() {
        let columns: Vec<String> = compression
            .order_by
            .iter()
            .map(|order| {
                let direction = if order.ascending { "ASC" } else { "DESC" };
                let nulls = if order.nulls_first { "FIRST" } else { "LAST" };
                format!("{} {direction} NULLS {nulls}", ident(&order.column))
            })
            .collect();
        settings.push(format!("timescaledb.compress_orderby = {}", literal(&columns.join(", "))));
    }
    if let Some(interval) = &compression.chunk_interval {
        settings.push(format!("timescaledb.compress_chunk_time_interval = {}", literal(interval)));
    }
    format!("ALTER {kind} {name} SET ({})", settings.join(", "))
}

/// The ranges of a chunk as the extension's function expects them.
pub(crate) fn slices(chunk: &Chunk) -> String {
    let ranges: Vec<String> = chunk
        .slices
        .iter()
        .map(|(column, (from, to))| format!("{}: [{from}, {to}]", serde_json::Value::from(column.as_str())))
        .collect();
    format!("{{{}}}", ranges.join(", "))
}

/// Whether a job is supported: user-defined jobs, and these policies of the extension.
pub(crate) fn known(job: &Job) -> bool {
    policy(job).is_none_or(|name| {
        matches!(
            name,
            "policy_compression"
                | "policy_retention"
                | "policy_refresh_continuous_aggregate"
                | "policy_reorder"
        )
    })
}

/// Whether it is a refresh policy of an aggregate.
pub(crate) fn refreshes(job: &Job) -> bool {
    policy(job) == Some("policy_refresh_continuous_aggregate")
}

/// The extension's own procedure, if the job runs one.
fn policy(job: &Job) -> Option<&str> {
    job.procedure.schema.starts_with("_timescaledb_").then_some(job.procedure.name.as_str())
}

/// Adds a job and returns its id. [`settle_job`], in the same transaction, prevents it from starting early.
pub(crate) fn add_job(schema: &str, job: &Job) -> String {
    let schema = ident(schema);
    let text = |value: &Option<String>, kind: &str| match value {
        Some(value) => format!("{}::{kind}", literal(value)),
        None => format!("NULL::{kind}"),
    };
    let config: serde_json::Value =
        job.config.as_deref().and_then(|config| serde_json::from_str(config).ok()).unwrap_or_default();
    // An interval is a string, integer time is a number.
    let argument = |key: &str| match config.get(key) {
        Some(serde_json::Value::String(interval)) => Some(format!("{}::interval", literal(interval))),
        Some(serde_json::Value::Number(number)) => Some(format!("{number}::bigint")),
        _ => None,
    };
    let times = format!(
        "initial_start => {}, timezone => {}",
        text(&job.initial_start.clone().filter(|_| job.fixed_schedule), "timestamptz"),
        text(&job.timezone, "text")
    );
    let on = job.relation.as_ref().map(relation).unwrap_or_default();
    let either = |after: &str, before: &str, after_name: &str, before_name: &str| match argument(after) {
        Some(value) => format!("{after_name} => {value}"),
        None => {
            format!("{before_name} => {}", argument(before).unwrap_or_else(|| "NULL::interval".to_owned()))
        }
    };
    match policy(job) {
        Some("policy_compression") => format!(
            "SELECT {schema}.add_compression_policy({on}, {}, {times})",
            either("compress_after", "compress_created_before", "compress_after", "compress_created_before")
        ),
        Some("policy_retention") => format!(
            "SELECT {schema}.add_retention_policy({on}, {}, {times})",
            either("drop_after", "drop_created_before", "drop_after", "drop_created_before")
        ),
        Some("policy_refresh_continuous_aggregate") => {
            let (start, end) = (argument("start_offset"), argument("end_offset"));
            // An open end has no type of its own.
            let kind = match start.as_ref().or(end.as_ref()) {
                Some(value) if value.ends_with("::bigint") => "bigint",
                _ => "interval",
            };
            let open = || format!("NULL::{kind}");
            format!(
                "SELECT {schema}.add_continuous_aggregate_policy({on}, start_offset => {}, end_offset => {}, \
                 schedule_interval => {}::interval, {times})",
                start.unwrap_or_else(open),
                end.unwrap_or_else(open),
                literal(&job.schedule_interval)
            )
        }
        Some(_) => {
            let index = config.get("index_name").and_then(serde_json::Value::as_str).unwrap_or_default();
            format!("SELECT {schema}.add_reorder_policy({on}, {}, {times})", literal(index))
        }
        None => format!(
            "SELECT {schema}.add_job({}, {}::interval, config => {}, initial_start => {}, scheduled => false, \
             fixed_schedule => {}, timezone => {}{})",
            procedure(&job.procedure),
            literal(&job.schedule_interval),
            text(&job.config, "jsonb"),
            text(&job.initial_start, "timestamptz"),
            job.fixed_schedule,
            text(&job.timezone, "text"),
            job.check
                .as_ref()
                .map(|check| format!(", check_config => {}", procedure(check)))
                .unwrap_or_default()
        ),
    }
}

/// Sets all other properties of a newly added job, and keeps it from starting. Its arguments are those of the source,
/// with hypertable ids replaced by the target's.
pub(crate) fn settle_job(schema: &str, job: &Job, id: &str) -> String {
    let config = match (&job.config, &job.relation) {
        (Some(config), Some(_)) => format!(
            ", config => {}::jsonb || (SELECT coalesce(jsonb_object_agg(e.key, e.value), '{{}}') \
             FROM timescaledb_information.jobs j, jsonb_each(j.config) e \
             WHERE j.job_id = {id} AND e.key IN ('hypertable_id', 'mat_hypertable_id'))",
            literal(config)
        ),
        _ => String::new(),
    };
    let timezone = timezone(job);
    format!(
        "SELECT {}.alter_job({id}, schedule_interval => {}::interval, max_runtime => {}::interval, max_retries => {}, \
         retry_period => {}::interval, scheduled => false{config}{timezone})",
        ident(schema),
        literal(&job.schedule_interval),
        literal(&job.max_runtime),
        job.max_retries,
        literal(&job.retry_period)
    )
}

/// Sets the title of a job; `None` if it is the extension's default. Not every version has titles.
pub(crate) fn name_job(schema: &str, job: &Job, id: &str) -> Option<String> {
    let title = title(job)?;
    let (schema, timezone) = (ident(schema), timezone(job));
    Some(format!("SELECT {schema}.alter_job({id}, job_name => {}{timezone})", literal(title)))
}

/// Starts a job.
pub(crate) fn start_job(schema: &str, job: &Job, id: &str) -> String {
    format!("SELECT {}.alter_job({id}, scheduled => true{})", ident(schema), timezone(job))
}

/// The time zone, as an argument. `alter_job` resets it if it is omitted.
fn timezone(job: &Job) -> String {
    job.timezone.as_ref().map(|zone| format!(", timezone => {}", literal(zone))).unwrap_or_default()
}

/// A title set by the user, without the job's id.
fn title(job: &Job) -> Option<&str> {
    let number = format!(" [{}]", job.id);
    let title = job.title.strip_suffix(&number).unwrap_or(&job.title);
    let chosen = title != "User-Defined Action" && !title.ends_with(" Policy");
    chosen.then_some(title)
}

/// An argument that ends before every range of an integer time.
pub(crate) fn before_all(column_type: &str) -> &'static str {
    match column_type {
        "timestamp with time zone" => "'4714-11-24 00:00:00+00 BC'::timestamptz",
        "timestamp without time zone" => "'4714-11-24 00:00:00 BC'::timestamp",
        "date" => "'4714-11-24 BC'::date",
        "smallint" => "(-32767)::smallint",
        "integer" => "(-2147483647)::integer",
        _ => "(-9223372036854775807)::bigint",
    }
}

/// What a comparison covers. Generated names and ids are left out.
pub(crate) fn facts(timescale: &Timescale, options: &RenderOptions) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    for table in &timescale.hypertables {
        chunk_facts(&mut facts, "hypertable", &table.name, table);
    }
    for aggregate in &timescale.aggregates {
        chunk_facts(&mut facts, "continuous aggregate", &aggregate.name, &aggregate.materialized);
        let object = format!("continuous aggregate {}", aggregate.name);
        let mark = aggregate.watermark.as_deref().unwrap_or("never");
        facts.push((object.clone(), format!("refreshed up to {mark}")));
        let time = aggregate.materialized.dimensions.first();
        let kind = time.map_or("", |dimension| dimension.column_type.as_str());
        if let Some(interval) = time.and_then(|dimension| dimension.interval) {
            facts.push((object.clone(), format!("chunks of {}", ranges::length(kind, interval))));
        }
        for range in aggregate.invalid.iter().flatten() {
            facts.push((object.clone(), format!("not refreshed {}", ranges::shown(kind, *range))));
        }
    }
    for job in &timescale.jobs {
        let mut config: serde_json::Value =
            job.config.as_deref().and_then(|config| serde_json::from_str(config).ok()).unwrap_or_default();
        if let Some(config) = config.as_object_mut().filter(|_| job.relation.is_some()) {
            config.remove("hypertable_id");
            config.remove("mat_hypertable_id");
        }
        let on = job.relation.as_ref().map(|name| format!(" on {name}")).unwrap_or_default();
        let definition = format!(
            "every {}, runs up to {}, {} retries every {}{}, {}, {}, first {}, time zone {}, arguments {config}",
            job.schedule_interval,
            job.max_runtime,
            job.max_retries,
            job.retry_period,
            if options.no_owner { String::new() } else { format!(", as {}", options.role(&job.owner)) },
            if job.scheduled { "scheduled" } else { "not scheduled" },
            if job.fixed_schedule { "at fixed times" } else { "after its last end" },
            job.initial_start.as_deref().filter(|_| job.fixed_schedule).unwrap_or("any time"),
            job.timezone.as_deref().unwrap_or("none"),
        );
        let called = title(job).map(|title| format!(", called {title}")).unwrap_or_default();
        facts.push((format!("job {}{on}", ident(&job.procedure.name)), definition + &called));
    }
    facts
}

fn chunk_facts(facts: &mut Vec<(String, String)>, kind: &str, name: &QualifiedName, table: &Hypertable) {
    for chunk in &table.chunks {
        let ranges: Vec<String> = chunk
            .slices
            .iter()
            .map(|(column, range)| {
                let dimension = table.dimensions.iter().find(|dimension| dimension.column == *column);
                let kind = dimension.filter(|dimension| dimension.partitions.is_none());
                let kind = kind.map_or("", |dimension| dimension.column_type.as_str());
                format!("{} {}", ident(column), ranges::shown(kind, *range))
            })
            .collect();
        let ranges = ranges.join(", ");
        if chunk.compressed {
            facts.push((format!("{STATE}chunks of {kind} {name}"), format!("compressed: {ranges}")));
        }
        facts.push((format!("chunks of {kind} {name}"), ranges));
    }
    if let Some(compression) = &table.compression {
        facts.push((format!("compression of {kind} {name}"), set_compression("TABLE", name, compression)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(procedure: &str, config: &str) -> Job {
        Job {
            id: 1000,
            procedure: QualifiedName::new("_timescaledb_functions", procedure),
            title: "a policy".into(),
            schedule_interval: "01:00:00".into(),
            max_runtime: "00:00:00".into(),
            max_retries: -1,
            retry_period: "01:00:00".into(),
            owner: "o".into(),
            scheduled: true,
            fixed_schedule: false,
            initial_start: None,
            timezone: None,
            config: Some(config.into()),
            check: None,
            relation: Some(QualifiedName::new("s", "It's")),
        }
    }

    #[test]
    fn intervals_and_numbers_keep_their_kind() {
        let sql = add_job(
            "public",
            &job("policy_compression", r#"{"hypertable_id": 1, "compress_after": "7 days"}"#),
        );
        assert!(
            sql.contains(
                "add_compression_policy('s.\"It''s\"'::regclass, compress_after => '7 days'::interval"
            ),
            "{sql}"
        );
        let sql = add_job("public", &job("policy_retention", r#"{"hypertable_id": 1, "drop_after": 5000}"#));
        assert!(sql.contains("drop_after => 5000::bigint"), "{sql}");
        let config = r#"{"start_offset": null, "end_offset": 10, "mat_hypertable_id": 3}"#;
        let sql = add_job("public", &job("policy_refresh_continuous_aggregate", config));
        assert!(sql.contains("start_offset => NULL::bigint, end_offset => 10::bigint"), "{sql}");
    }

    #[test]
    fn the_ranges_of_a_chunk_are_exact() {
        let chunk = Chunk {
            oid: 1,
            name: QualifiedName::new("s", "c"),
            slices: [("a\"b".to_owned(), (i64::MIN, i64::MAX))].into(),
            compressed: false,
            bytes: 0,
        };
        assert_eq!(slices(&chunk), r#"{"a\"b": [-9223372036854775808, 9223372036854775807]}"#);
    }
}
