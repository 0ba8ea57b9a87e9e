//! Text search parsers, templates, dictionaries and configurations.

use crate::catalog::meta::{MetaColumns, in_user_schema};

pub(super) fn parsers(_: u32) -> Option<String> {
    let meta = MetaColumns {
        catalog: "pg_ts_parser",
        alias: "p",
        name: "prsname",
        schema: Some("prsnamespace"),
        owner: None,
        acl: None,
    }
    .sql();
    let user = in_user_schema("p.prsnamespace");
    Some(format!(
        "SELECT {meta}, format('%I.%I', n.nspname, p.prsname) AS identity, \
         ARRAY[format('CREATE TEXT SEARCH PARSER %I.%I (%s)', n.nspname, p.prsname, concat_ws(', ', \
           'START = ' || p.prsstart, 'GETTOKEN = ' || p.prstoken, 'END = ' || p.prsend, \
           'HEADLINE = ' || nullif(p.prsheadline::text, '-'), 'LEXTYPES = ' || p.prslextype))] AS statements \
         FROM pg_ts_parser p JOIN pg_namespace n ON n.oid = p.prsnamespace WHERE {user}"
    ))
}

pub(super) fn templates(_: u32) -> Option<String> {
    let meta = MetaColumns {
        catalog: "pg_ts_template",
        alias: "t",
        name: "tmplname",
        schema: Some("tmplnamespace"),
        owner: None,
        acl: None,
    }
    .sql();
    let user = in_user_schema("t.tmplnamespace");
    Some(format!(
        "SELECT {meta}, format('%I.%I', n.nspname, t.tmplname) AS identity, \
         ARRAY[format('CREATE TEXT SEARCH TEMPLATE %I.%I (%s)', n.nspname, t.tmplname, concat_ws(', ', \
           'INIT = ' || nullif(t.tmplinit::text, '-'), 'LEXIZE = ' || t.tmpllexize))] AS statements \
         FROM pg_ts_template t JOIN pg_namespace n ON n.oid = t.tmplnamespace WHERE {user}"
    ))
}

pub(super) fn dictionaries(_: u32) -> Option<String> {
    let meta = MetaColumns {
        catalog: "pg_ts_dict",
        alias: "d",
        name: "dictname",
        schema: Some("dictnamespace"),
        owner: Some("dictowner"),
        acl: None,
    }
    .sql();
    let user = in_user_schema("d.dictnamespace");
    Some(format!(
        "SELECT {meta}, format('%I.%I', n.nspname, d.dictname) AS identity, \
         ARRAY[format('CREATE TEXT SEARCH DICTIONARY %I.%I (TEMPLATE = %I.%I%s)', n.nspname, d.dictname, tn.nspname, t.tmplname, \
           coalesce(', ' || nullif(d.dictinitoption, ''), ''))] AS statements \
         FROM pg_ts_dict d JOIN pg_namespace n ON n.oid = d.dictnamespace JOIN pg_ts_template t ON t.oid = d.dicttemplate \
         JOIN pg_namespace tn ON tn.oid = t.tmplnamespace WHERE {user}"
    ))
}

pub(super) fn configurations(_: u32) -> Option<String> {
    let meta = MetaColumns {
        catalog: "pg_ts_config",
        alias: "c",
        name: "cfgname",
        schema: Some("cfgnamespace"),
        owner: Some("cfgowner"),
        acl: None,
    }
    .sql();
    let user = in_user_schema("c.cfgnamespace");
    Some(format!(
        "SELECT {meta}, format('%I.%I', n.nspname, c.cfgname) AS identity, \
         ARRAY[format('CREATE TEXT SEARCH CONFIGURATION %I.%I (PARSER = %I.%I)', n.nspname, c.cfgname, pn.nspname, p.prsname)] \
         || ARRAY(SELECT format('ALTER TEXT SEARCH CONFIGURATION %I.%I ADD MAPPING FOR %I WITH %s', n.nspname, c.cfgname, \
             (SELECT t.alias FROM ts_token_type(c.cfgparser) t WHERE t.tokid = m.maptokentype), \
             string_agg(m.mapdict::regdictionary::text, ', ' ORDER BY m.mapseqno)) \
           FROM pg_ts_config_map m WHERE m.mapcfg = c.oid GROUP BY m.maptokentype ORDER BY m.maptokentype) AS statements \
         FROM pg_ts_config c JOIN pg_namespace n ON n.oid = c.cfgnamespace JOIN pg_ts_parser p ON p.oid = c.cfgparser \
         JOIN pg_namespace pn ON pn.oid = p.prsnamespace WHERE {user}"
    ))
}
