//! Functions, procedures and aggregates.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::address::class;
use super::deparsed::{quoted, type_name};
use super::meta::{Meta, MetaColumns, in_user_schema, object};
use super::query::rows;
use crate::error::Error;

/// A function, window function or procedure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    /// Identity, owner and privileges.
    #[serde(flatten)]
    pub meta: Meta,
    /// Whether it is a procedure.
    pub procedure: bool,
    /// Its identity arguments: types and modes, formatted.
    #[serde(deserialize_with = "super::deparsed::text")]
    pub arguments: String,
    /// The types of its input arguments, formatted, which distinguish overloads. Missing in catalogs of earlier
    /// versions.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "super::deparsed::optional"
    )]
    pub types: Option<String>,
    /// `CREATE OR REPLACE FUNCTION …`, deparsed.
    #[serde(deserialize_with = "super::deparsed::text")]
    pub definition: String,
    /// Whether the body is stored as a parse tree (`RETURN …`, `BEGIN ATOMIC …`; 14 and newer).
    #[serde(default)]
    pub sql_body: bool,
}
object!(Function, class::PROC);

/// An aggregate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aggregate {
    /// Identity, owner and privileges.
    #[serde(flatten)]
    pub meta: Meta,
    /// Its identity arguments.
    #[serde(deserialize_with = "super::deparsed::text")]
    pub arguments: String,
    /// The types of its arguments without `ORDER BY`, as in `GRANT … ON FUNCTION`.
    #[serde(default, deserialize_with = "super::deparsed::text")]
    pub types: String,
    /// Its arguments with names and defaults, as in `CREATE AGGREGATE`.
    #[serde(deserialize_with = "super::deparsed::text")]
    pub full_arguments: String,
    /// The clauses of `CREATE AGGREGATE` with their values, ready for SQL, in order.
    #[serde(deserialize_with = "super::deparsed::pairs")]
    pub clauses: Vec<(String, String)>,
    /// Whether it is an ordered-set aggregate with `HYPOTHETICAL`.
    #[serde(default)]
    pub hypothetical: bool,
}
object!(Aggregate, class::PROC);

const META: MetaColumns = MetaColumns {
    catalog: "pg_proc",
    alias: "p",
    name: "proname",
    schema: Some("pronamespace"),
    owner: Some("proowner"),
    acl: Some(("proacl", "'f'")),
};

/// Functions and procedures in user schemas, except constructors of range types.
pub(super) async fn read(client: &Client, version: u32) -> Result<Vec<Function>, Error> {
    let meta = META.sql();
    let sql_body = if version >= 140_000 { "p.prosqlbody IS NOT NULL" } else { "false" };
    let user = in_user_schema("p.pronamespace");
    let arguments = quoted("pg_get_function_identity_arguments(p.oid)");
    let definition = quoted("pg_get_functiondef(p.oid)");
    let type_name = type_name("t", "NULL");
    rows(
        client,
        "functions",
        &format!(
            "SELECT {meta}, p.prokind = 'p' AS procedure, {arguments} AS arguments, \
             coalesce((SELECT string_agg({type_name}, ', ' ORDER BY n) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY u(t, n)), '') AS types, \
             {definition} AS definition, {sql_body} AS sql_body \
             FROM pg_proc p WHERE p.prokind <> 'a' AND {user} \
             AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'i') \
             ORDER BY 3, 2, arguments"
        ),
    )
    .await
}

/// Aggregates in user schemas.
pub(super) async fn read_aggregates(client: &Client) -> Result<Vec<Aggregate>, Error> {
    let meta = META.sql();
    let user = in_user_schema("p.pronamespace");
    let arguments = quoted("pg_get_function_identity_arguments(p.oid)");
    let full_arguments = quoted("pg_get_function_arguments(p.oid)");
    let function = |column: &str| quoted(&format!("nullif(a.{column}::regproc::text, '-')"));
    let sfunc = function("aggtransfn");
    let stype = type_name("a.aggtranstype", "NULL");
    let mstype = type_name("a.aggmtranstype", "NULL");
    let aggmtransfn = function("aggmtransfn");
    let aggminvtransfn = function("aggminvtransfn");
    let aggfinalfn = function("aggfinalfn");
    let aggcombinefn = function("aggcombinefn");
    let aggserialfn = function("aggserialfn");
    let aggdeserialfn = function("aggdeserialfn");
    let aggmfinalfn = function("aggmfinalfn");
    let sort = quoted(
        "(SELECT 'OPERATOR(' || quote_ident(on_.nspname) || '.' || o.oprname || ')' FROM pg_operator o \
         JOIN pg_namespace on_ ON on_.oid = o.oprnamespace WHERE o.oid = a.aggsortop)",
    );
    let type_name = type_name("t", "NULL");
    // One row of VALUES for each clause that is not the default, in the usual order of CREATE AGGREGATE. The reg* types
    // produce qualified names because the search_path is empty.
    rows(
        client,
        "aggregates",
        &format!(
            "SELECT {meta}, {arguments} AS arguments, \
             coalesce((SELECT string_agg({type_name}, ', ' ORDER BY n) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY u(t, n)), '') AS types, \
             {full_arguments} AS full_arguments, a.aggkind = 'h' AS hypothetical, \
             (SELECT json_agg(json_build_array(v.clause, v.value) ORDER BY v.n) FROM (VALUES \
               (1, 'SFUNC', {sfunc}), \
               (2, 'STYPE', {stype}), \
               (3, 'SSPACE', nullif(a.aggtransspace, 0)::text), \
               (4, 'INITCOND', quote_literal(a.agginitval)), \
               (5, 'MSFUNC', {aggmtransfn}), \
               (6, 'MINVFUNC', {aggminvtransfn}), \
               (7, 'MSTYPE', CASE WHEN a.aggmtranstype <> 0 THEN {mstype} END), \
               (8, 'MSSPACE', nullif(a.aggmtransspace, 0)::text), \
               (9, 'MINITCOND', quote_literal(a.aggminitval)), \
               (10, 'FINALFUNC', {aggfinalfn}), \
               (11, 'FINALFUNC_EXTRA', CASE WHEN a.aggfinalextra THEN 'true' END), \
               (12, 'FINALFUNC_MODIFY', CASE WHEN a.aggfinalfn <> 0 AND a.aggfinalmodify <> CASE a.aggkind WHEN 'n' THEN 'r' ELSE 'w' END \
                  THEN CASE a.aggfinalmodify WHEN 'r' THEN 'READ_ONLY' WHEN 's' THEN 'SHAREABLE' ELSE 'READ_WRITE' END END), \
               (13, 'COMBINEFUNC', {aggcombinefn}), \
               (14, 'SERIALFUNC', {aggserialfn}), \
               (15, 'DESERIALFUNC', {aggdeserialfn}), \
               (16, 'MFINALFUNC', {aggmfinalfn}), \
               (17, 'MFINALFUNC_EXTRA', CASE WHEN a.aggmfinalextra THEN 'true' END), \
               (18, 'MFINALFUNC_MODIFY', CASE WHEN a.aggmfinalfn <> 0 AND a.aggmfinalmodify <> CASE a.aggkind WHEN 'n' THEN 'r' ELSE 'w' END \
                  THEN CASE a.aggmfinalmodify WHEN 'r' THEN 'READ_ONLY' WHEN 's' THEN 'SHAREABLE' ELSE 'READ_WRITE' END END), \
               (19, 'SORTOP', {sort}), \
               (20, 'PARALLEL', CASE p.proparallel WHEN 's' THEN 'safe' WHEN 'r' THEN 'restricted' END), \
               (21, 'HYPOTHETICAL', CASE WHEN a.aggkind = 'h' THEN '' END) \
              ) v(n, clause, value) WHERE v.value IS NOT NULL) AS clauses \
             FROM pg_proc p JOIN pg_aggregate a ON a.aggfnoid = p.oid WHERE {user} ORDER BY 3, 2, arguments"
        ),
    )
    .await
}
