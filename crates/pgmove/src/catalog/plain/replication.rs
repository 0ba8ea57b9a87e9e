//! Publications with their tables and schemas, and subscriptions.

use serde::Deserialize;
use tokio_postgres::Client;

use crate::catalog::meta::MetaColumns;
use crate::catalog::query::rows;
use crate::error::Error;

pub(super) fn publications(version: u32) -> Option<String> {
    let meta = MetaColumns {
        catalog: "pg_publication",
        alias: "p",
        name: "pubname",
        schema: None,
        owner: Some("pubowner"),
        acl: None,
    }
    .sql();
    let via_root = if version >= 130_000 {
        "(SELECT json_build_object('since', 130000, 'text', 'publish_via_partition_root = true', 'needed', true) WHERE p.pubviaroot)"
    } else {
        "NULL"
    };
    let generated = if version >= 180_000 {
        "(SELECT json_build_object('since', 180000, 'text', 'publish_generated_columns = stored', 'needed', true) WHERE p.pubgencols = 's')"
    } else {
        "NULL"
    };
    Some(format!(
        "SELECT {meta}, quote_ident(p.pubname) AS identity, \
         ARRAY[format('CREATE PUBLICATION %I%s WITH', p.pubname, CASE WHEN p.puballtables THEN ' FOR ALL TABLES' ELSE '' END)] AS statements, \
         array_remove(ARRAY[json_build_object('since', 0, 'text', format('publish = %L', \
           concat_ws(', ', CASE WHEN p.pubinsert THEN 'insert' END, CASE WHEN p.pubupdate THEN 'update' END, \
             CASE WHEN p.pubdelete THEN 'delete' END, CASE WHEN p.pubtruncate THEN 'truncate' END))), {via_root}, {generated}]::text[], NULL)::json[] AS clauses \
         FROM pg_publication p"
    ))
}

pub(super) fn publication_tables(version: u32) -> Option<String> {
    let (columns, condition) = if version >= 150_000 {
        (
            "coalesce((SELECT ' (' || string_agg(quote_ident(a.attname), ', ' ORDER BY x.n) || ')' \
              FROM unnest(r.prattrs::int2[]) WITH ORDINALITY x(attnum, n) JOIN pg_attribute a ON a.attrelid = r.prrelid AND a.attnum = x.attnum), '')",
            "coalesce(' WHERE (' || pg_get_expr(r.prqual, r.prrelid) || ')', '')",
        )
    } else {
        ("''", "''")
    };
    Some(format!(
        "SELECT r.oid::int8 AS oid, format('%s %s.%s', p.pubname, n.nspname, c.relname) AS name, \
         format('%I %I.%I', p.pubname, n.nspname, c.relname) AS identity, \
         ARRAY[format('ALTER PUBLICATION %I ADD TABLE ONLY %I.%I%s%s', p.pubname, n.nspname, c.relname, {columns}, {condition})] AS statements \
         FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid JOIN pg_class c ON c.oid = r.prrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace"
    ))
}

pub(super) fn publication_schemas(version: u32) -> Option<String> {
    (version >= 150_000).then(|| {
        "SELECT s.oid::int8 AS oid, format('%s %s', p.pubname, n.nspname) AS name, format('%I %I', p.pubname, n.nspname) AS identity, \
         ARRAY[format('ALTER PUBLICATION %I ADD TABLES IN SCHEMA %I', p.pubname, n.nspname)] AS statements \
         FROM pg_publication_namespace s JOIN pg_publication p ON p.oid = s.pnpubid JOIN pg_namespace n ON n.oid = s.pnnspid"
            .to_owned()
    })
}

/// Whether the role may read connection strings of subscriptions, which contain passwords.
pub(super) async fn may_read_subscriptions(client: &Client) -> Result<bool, Error> {
    #[derive(Deserialize)]
    struct May {
        may: bool,
    }
    let sql = "SELECT has_column_privilege('pg_catalog.pg_subscription', 'subconninfo', 'SELECT') AS may";
    Ok(rows::<May>(client, "subscriptions", sql).await?.iter().all(|row| row.may))
}

/// Subscriptions of this database. They are created disabled and without connecting: two subscribers cannot share a
/// slot, and the user must decide which one continues.
pub(super) fn subscriptions(version: u32) -> Option<String> {
    let meta = MetaColumns {
        catalog: "pg_subscription",
        alias: "s",
        name: "subname",
        schema: None,
        owner: Some("subowner"),
        acl: None,
    }
    .sql();
    // Columns: first and last version that supports it, text, whether the subscription has it, whether it changes the
    // meaning.
    let mut clauses = vec![
        "(0, NULL::int, 'connect = false', true, false)".to_owned(),
        "(0, NULL, 'slot_name = ' || coalesce(quote_literal(s.subslotname), 'NONE'), true, false)".to_owned(),
        "(0, NULL, 'synchronous_commit = ' || quote_literal(s.subsynccommit), s.subsynccommit <> 'off', false)"
            .to_owned(),
    ];
    let mut clause = |since: u32, until: &str, text: &str, condition: &str, needed: bool| {
        if version >= since {
            clauses.push(format!("({since}, {until}, {text}, {condition}, {needed})"));
        }
    };
    clause(140_000, "NULL", "'binary = true'", "s.subbinary", true);
    if version >= 160_000 {
        clause(160_000, "NULL", "'streaming = parallel'", "s.substream = 'p'", false);
        // Servers that do not support parallel apply still stream.
        clause(140_000, "160000", "'streaming = on'", "s.substream = 'p'", false);
        clause(140_000, "NULL", "'streaming = on'", "s.substream = 't'", false);
        // From 18 on, streaming is the default.
        clause(140_000, "NULL", "'streaming = off'", "s.substream = 'f'", false);
    } else {
        clause(140_000, "NULL", "'streaming = on'", "s.substream", false);
        clause(140_000, "NULL", "'streaming = off'", "NOT s.substream", false);
    }
    clause(150_000, "NULL", "'two_phase = on'", "s.subtwophasestate <> 'd'", true);
    clause(150_000, "NULL", "'disable_on_error = true'", "s.subdisableonerr", true);
    clause(160_000, "NULL", "'password_required = false'", "NOT s.subpasswordrequired", false);
    clause(160_000, "NULL", "'run_as_owner = true'", "s.subrunasowner", false);
    clause(160_000, "NULL", "'origin = ' || quote_ident(s.suborigin)", "s.suborigin <> 'any'", true);
    clause(170_000, "NULL", "'failover = true'", "s.subfailover", true);
    let clauses = clauses.join(", ");
    Some(format!(
        "SELECT {meta}, quote_ident(s.subname) AS identity, \
         ARRAY[format('CREATE SUBSCRIPTION %I CONNECTION %L PUBLICATION %s WITH', s.subname, s.subconninfo, \
           (SELECT string_agg(quote_ident(p), ', ' ORDER BY n) FROM unnest(s.subpublications) WITH ORDINALITY u(p, n)))] AS statements, \
         (SELECT json_agg(json_build_object('since', since, 'until', until, 'text', text, 'needed', needed)) FROM (VALUES {clauses}) v(since, until, text, said, needed) WHERE said) AS clauses \
         FROM pg_subscription s WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
    ))
}
