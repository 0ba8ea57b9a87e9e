//! Collations, languages, access methods, conversions, casts, transforms and event triggers.

use crate::catalog::meta::{FIRST_NORMAL_OID, MetaColumns, in_user_schema};

pub(super) fn collations(version: u32) -> Option<String> {
    let meta = MetaColumns {
        catalog: "pg_collation",
        alias: "c",
        name: "collname",
        schema: Some("collnamespace"),
        owner: Some("collowner"),
        acl: None,
    }
    .sql();
    let user = in_user_schema("c.collnamespace");
    // The column with the locale of ICU and builtin collations.
    let locale = match version {
        170_000.. => "c.colllocale",
        150_000.. => "c.colliculocale",
        _ => "c.collcollate",
    };
    let rules = if version >= 160_000 { "c.collicurules" } else { "NULL::text" };
    Some(format!(
        "SELECT {meta}, format('%I.%I', n.nspname, c.collname) AS identity, \
         ARRAY[format('CREATE COLLATION %I.%I', n.nspname, c.collname)] AS statements, \
         (SELECT json_agg(json_build_object('since', since, 'text', text, 'needed', true)) FROM (VALUES \
           (CASE c.collprovider WHEN 'b' THEN 170000 WHEN 'd' THEN 160000 ELSE 0 END, 'provider = ' || \
             CASE c.collprovider WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' WHEN 'd' THEN 'default' ELSE 'libc' END), \
           (0, CASE WHEN NOT c.collisdeterministic THEN 'deterministic = false' END), \
           (0, CASE WHEN c.collprovider IN ('i', 'b') THEN 'locale = ' || quote_literal({locale}) \
             WHEN c.collcollate = c.collctype THEN 'locale = ' || quote_literal(c.collcollate) \
             ELSE 'lc_collate = ' || quote_literal(c.collcollate) || ', lc_ctype = ' || quote_literal(c.collctype) END), \
           (160000, 'rules = ' || quote_literal({rules}))) v(since, text) WHERE text IS NOT NULL) AS clauses \
         FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace \
         WHERE {user} AND c.collencoding IN (-1, (SELECT encoding FROM pg_database WHERE datname = current_database()))"
    ))
}

pub(super) fn languages(_: u32) -> Option<String> {
    let meta = MetaColumns {
        catalog: "pg_language",
        alias: "l",
        name: "lanname",
        schema: None,
        owner: Some("lanowner"),
        acl: Some(("lanacl", "'l'")),
    }
    .sql();
    Some(format!(
        "SELECT {meta}, quote_ident(l.lanname) AS identity, \
         ARRAY[format('CREATE %sLANGUAGE %I HANDLER %s%s%s', CASE WHEN l.lanpltrusted THEN 'TRUSTED ' ELSE '' END, l.lanname, \
           l.lanplcallfoid::regproc, CASE WHEN l.laninline <> 0 THEN ' INLINE ' || l.laninline::regproc ELSE '' END, \
           CASE WHEN l.lanvalidator <> 0 THEN ' VALIDATOR ' || l.lanvalidator::regproc ELSE '' END)] AS statements \
         FROM pg_language l WHERE l.oid >= {FIRST_NORMAL_OID} AND l.lanispl"
    ))
}

pub(super) fn access_methods(_: u32) -> Option<String> {
    let meta =
        MetaColumns { catalog: "pg_am", alias: "a", name: "amname", schema: None, owner: None, acl: None }
            .sql();
    Some(format!(
        "SELECT {meta}, quote_ident(a.amname) AS identity, \
         ARRAY[format('CREATE ACCESS METHOD %I TYPE %s HANDLER %s', a.amname, \
           CASE a.amtype WHEN 't' THEN 'TABLE' ELSE 'INDEX' END, a.amhandler)] AS statements \
         FROM pg_am a WHERE a.oid >= {FIRST_NORMAL_OID}"
    ))
}

pub(super) fn conversions(_: u32) -> Option<String> {
    let meta = MetaColumns {
        catalog: "pg_conversion",
        alias: "c",
        name: "conname",
        schema: Some("connamespace"),
        owner: Some("conowner"),
        acl: None,
    }
    .sql();
    let user = in_user_schema("c.connamespace");
    Some(format!(
        "SELECT {meta}, format('%I.%I', n.nspname, c.conname) AS identity, \
         ARRAY[format('CREATE %sCONVERSION %I.%I FOR %L TO %L FROM %s', CASE WHEN c.condefault THEN 'DEFAULT ' ELSE '' END, \
           n.nspname, c.conname, pg_encoding_to_char(c.conforencoding), pg_encoding_to_char(c.contoencoding), c.conproc)] AS statements \
         FROM pg_conversion c JOIN pg_namespace n ON n.oid = c.connamespace WHERE {user}"
    ))
}

pub(super) fn casts(version: u32) -> Option<String> {
    // Casts from a range to its multirange are created with the range.
    let ranges = if version >= 140_000 {
        "AND NOT EXISTS (SELECT FROM pg_range r WHERE r.rngtypid = c.castsource AND r.rngmultitypid = c.casttarget)"
    } else {
        ""
    };
    Some(format!(
        "SELECT c.oid::int8 AS oid, format('(%s AS %s)', format_type(c.castsource, NULL), format_type(c.casttarget, NULL)) AS name, \
         (SELECT extname FROM pg_depend JOIN pg_extension e ON e.oid = refobjid WHERE classid = 'pg_cast'::regclass \
           AND objid = c.oid AND deptype = 'e' LIMIT 1) AS extension, \
         format('(%s AS %s)', format_type(c.castsource, NULL), format_type(c.casttarget, NULL)) AS identity, \
         ARRAY[format('CREATE CAST (%s AS %s) %s%s', format_type(c.castsource, NULL), format_type(c.casttarget, NULL), \
           CASE c.castmethod WHEN 'f' THEN 'WITH FUNCTION ' || c.castfunc::regprocedure WHEN 'i' THEN 'WITH INOUT' ELSE 'WITHOUT FUNCTION' END, \
           CASE c.castcontext WHEN 'a' THEN ' AS ASSIGNMENT' WHEN 'i' THEN ' AS IMPLICIT' ELSE '' END)] AS statements \
         FROM pg_cast c WHERE c.oid >= {FIRST_NORMAL_OID} {ranges}"
    ))
}

pub(super) fn transforms(_: u32) -> Option<String> {
    Some(format!(
        "SELECT t.oid::int8 AS oid, format('%s %s', format_type(t.trftype, NULL), l.lanname) AS name, \
         (SELECT extname FROM pg_depend JOIN pg_extension e ON e.oid = refobjid WHERE classid = 'pg_transform'::regclass \
           AND objid = t.oid AND deptype = 'e' LIMIT 1) AS extension, \
         format('FOR %s LANGUAGE %I', format_type(t.trftype, NULL), l.lanname) AS identity, \
         ARRAY[format('CREATE TRANSFORM FOR %s LANGUAGE %I (%s)', format_type(t.trftype, NULL), l.lanname, concat_ws(', ', \
           'FROM SQL WITH FUNCTION ' || nullif(t.trffromsql, 0)::regprocedure::text, \
           'TO SQL WITH FUNCTION ' || nullif(t.trftosql, 0)::regprocedure::text))] AS statements \
         FROM pg_transform t JOIN pg_language l ON l.oid = t.trflang WHERE t.oid >= {FIRST_NORMAL_OID}"
    ))
}

pub(super) fn event_triggers(_: u32) -> Option<String> {
    let meta = MetaColumns {
        catalog: "pg_event_trigger",
        alias: "e",
        name: "evtname",
        schema: None,
        owner: Some("evtowner"),
        acl: None,
    }
    .sql();
    Some(format!(
        "SELECT {meta}, quote_ident(e.evtname) AS identity, \
         array_remove(ARRAY[format('CREATE EVENT TRIGGER %I ON %I%s EXECUTE FUNCTION %s()', e.evtname, e.evtevent, \
           coalesce((SELECT ' WHEN TAG IN (' || string_agg(quote_literal(tag), ', ') || ')' FROM unnest(e.evttags) tag), ''), \
           e.evtfoid::regproc), \
           CASE e.evtenabled WHEN 'D' THEN format('ALTER EVENT TRIGGER %I DISABLE', e.evtname) \
             WHEN 'A' THEN format('ALTER EVENT TRIGGER %I ENABLE ALWAYS', e.evtname) \
             WHEN 'R' THEN format('ALTER EVENT TRIGGER %I ENABLE REPLICA', e.evtname) END], NULL) AS statements \
         FROM pg_event_trigger e"
    ))
}
