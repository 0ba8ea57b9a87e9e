//! Publications with their tables and schemas.

use crate::catalog::meta::MetaColumns;

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
        "CASE WHEN p.pubviaroot THEN ', publish_via_partition_root = true' ELSE '' END"
    } else {
        "''"
    };
    let generated = if version >= 180_000 {
        "CASE p.pubgencols WHEN 's' THEN ', publish_generated_columns = stored' ELSE '' END"
    } else {
        "''"
    };
    Some(format!(
        "SELECT {meta}, quote_ident(p.pubname) AS identity, \
         ARRAY[format('CREATE PUBLICATION %I%s WITH (publish = %L%s%s)', p.pubname, \
           CASE WHEN p.puballtables THEN ' FOR ALL TABLES' ELSE '' END, \
           concat_ws(', ', CASE WHEN p.pubinsert THEN 'insert' END, CASE WHEN p.pubupdate THEN 'update' END, \
             CASE WHEN p.pubdelete THEN 'delete' END, CASE WHEN p.pubtruncate THEN 'truncate' END), {via_root}, {generated})] AS statements \
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
