//! Foreign-data wrappers, foreign servers and user mappings.

use crate::catalog::meta::{FIRST_NORMAL_OID, MetaColumns};

/// ` OPTIONS (name 'value', …)`, or an empty string.
fn options(column: &str) -> String {
    format!(
        "coalesce((SELECT ' OPTIONS (' || string_agg(quote_ident(option_name) || ' ' || quote_literal(option_value), ', ' ORDER BY option_name) \
         || ')' FROM pg_options_to_table({column})), '')"
    )
}

pub(super) fn wrappers(_: u32) -> Option<String> {
    let meta = MetaColumns {
        catalog: "pg_foreign_data_wrapper",
        alias: "w",
        name: "fdwname",
        schema: None,
        owner: Some("fdwowner"),
        acl: Some(("fdwacl", "'F'")),
    }
    .sql();
    let options = options("w.fdwoptions");
    Some(format!(
        "SELECT {meta}, quote_ident(w.fdwname) AS identity, \
         ARRAY[format('CREATE FOREIGN DATA WRAPPER %I%s%s%s', w.fdwname, \
           CASE WHEN w.fdwhandler <> 0 THEN ' HANDLER ' || w.fdwhandler::regproc ELSE '' END, \
           CASE WHEN w.fdwvalidator <> 0 THEN ' VALIDATOR ' || w.fdwvalidator::regproc ELSE '' END, {options})] AS statements \
         FROM pg_foreign_data_wrapper w WHERE w.oid >= {FIRST_NORMAL_OID}"
    ))
}

pub(super) fn servers(_: u32) -> Option<String> {
    let meta = MetaColumns {
        catalog: "pg_foreign_server",
        alias: "s",
        name: "srvname",
        schema: None,
        owner: Some("srvowner"),
        acl: Some(("srvacl", "'S'")),
    }
    .sql();
    let options = options("s.srvoptions");
    Some(format!(
        "SELECT {meta}, quote_ident(s.srvname) AS identity, \
         ARRAY[format('CREATE SERVER %I%s%s FOREIGN DATA WRAPPER %I%s', s.srvname, \
           coalesce(' TYPE ' || quote_literal(nullif(s.srvtype, '')), ''), \
           coalesce(' VERSION ' || quote_literal(nullif(s.srvversion, '')), ''), \
           (SELECT fdwname FROM pg_foreign_data_wrapper w WHERE w.oid = s.srvfdw), {options})] AS statements \
         FROM pg_foreign_server s"
    ))
}

pub(super) fn user_mappings(_: u32) -> Option<String> {
    // The view hides options that the role may not read.
    let options = options("u.umoptions");
    Some(format!(
        "SELECT u.umid::int8 AS oid, format('%s on %s', u.usename, u.srvname) AS name, \
         format('FOR %s SERVER %I', CASE WHEN u.umuser = 0 THEN 'PUBLIC' ELSE quote_ident(u.usename) END, u.srvname) AS identity, \
         ARRAY[format('CREATE USER MAPPING FOR %s SERVER %I%s', \
           CASE WHEN u.umuser = 0 THEN 'PUBLIC' ELSE quote_ident(u.usename) END, u.srvname, {options})] AS statements \
         FROM pg_user_mappings u"
    ))
}
