//! Properties of the database itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::address::class;
use super::meta::{Meta, MetaColumns, object};
use super::query::rows;
use crate::error::Error;

/// The settings that are copied with a catalog, besides custom settings, whose names contain a dot.
pub(crate) const VALUE_SETTINGS: [&str; 13] = [
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "array_nulls",
    "bytea_output",
    "default_text_search_config",
    "extra_float_digits",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "timezone_abbreviations",
    "xmlbinary",
    "xmloption",
];

/// The database that the catalog was read from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DatabaseInfo {
    /// Identity, owner and privileges.
    #[serde(flatten)]
    pub meta: Meta,
    /// Server encoding, for example `UTF8`.
    pub encoding: String,
    /// `LC_COLLATE`.
    pub collate: String,
    /// `LC_CTYPE`.
    pub ctype: String,
    /// `libc`, `icu` or `builtin`.
    pub locale_provider: LocaleProvider,
    /// The ICU or builtin locale, if the provider has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// ICU rules (16 and newer).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icu_rules: Option<String>,
    /// Version of the collation provider when the database was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collation_version: Option<String>,
    /// The tablespace, unless it is `pg_default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tablespace: Option<String>,
    /// Whether it is a template.
    pub is_template: bool,
    /// Maximum number of connections, -1 for no limit.
    pub connection_limit: i32,
    /// The comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Settings of the database (`role` is `None`) and of roles in this database.
    pub settings: Vec<Setting>,
    /// The settings under which the database's expressions are evaluated, as effective for the role that reads it: time
    /// zone, date style and the like, and custom settings of the database or the role. The first catalog versions lack
    /// it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub value_settings: BTreeMap<String, String>,
}
object!(DatabaseInfo, class::DATABASE);

/// The provider of the database's locale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LocaleProvider {
    /// The C library.
    #[default]
    #[serde(alias = "c")]
    Libc,
    /// ICU.
    #[serde(alias = "i")]
    Icu,
    /// The builtin provider (17 and newer).
    #[serde(alias = "b")]
    Builtin,
}

/// A row of `pg_db_role_setting` for this database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The role; `None` for all roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// `name=value` pairs as stored.
    pub config: Vec<String>,
}

/// Reads the current database.
pub(super) async fn read(client: &Client, version: u32) -> Result<DatabaseInfo, Error> {
    let meta = MetaColumns {
        catalog: "pg_database",
        alias: "d",
        name: "datname",
        schema: None,
        owner: Some("datdba"),
        acl: Some(("datacl", "'d'")),
    }
    .sql();
    let provider = if version >= 150_000 { "d.datlocprovider" } else { "'c'" };
    let locale = match version {
        170_000.. => "d.datlocale",
        150_000.. => "d.daticulocale",
        _ => "NULL",
    };
    let rules = if version >= 160_000 { "d.daticurules" } else { "NULL" };
    let collation_version = if version >= 150_000 { "d.datcollversion" } else { "NULL" };
    // Use `reset_val`, because the session pins its own values. Custom settings are in no list of the server; exclude
    // those that an extension hides from users and TimescaleDB's internal state.
    let names = VALUE_SETTINGS.map(|name| format!("'{name}'")).join(", ");
    let value_settings = format!(
        "coalesce((SELECT json_object_agg(name, value) FROM ( \
           SELECT p.name, p.reset_val AS value FROM pg_settings p WHERE p.name IN ({names}) AND p.reset_val IS NOT NULL \
           UNION ALL SELECT name, value FROM (SELECT DISTINCT ON (1) split_part(c, '=', 1) AS name, substr(c, strpos(c, '=') + 1) AS value \
             FROM pg_db_role_setting s, unnest(s.setconfig) c WHERE s.setdatabase IN (0, d.oid) \
             AND s.setrole IN (0, (SELECT r.oid FROM pg_roles r WHERE r.rolname = session_user)) \
             AND split_part(c, '=', 1) LIKE '%.%' AND split_part(c, '=', 1) NOT LIKE 'timescaledb%' \
             AND NOT EXISTS (SELECT FROM pg_settings p WHERE p.name = split_part(c, '=', 1) AND p.context <> 'user') \
             ORDER BY 1, s.setrole <> 0 DESC, s.setdatabase <> 0 DESC) own) v), '{{}}')"
    );
    let found: Vec<DatabaseInfo> = rows(
        client,
        "databases",
        &format!(
            "SELECT {meta}, pg_encoding_to_char(encoding) AS encoding, datcollate AS collate, datctype AS ctype, \
             {provider} AS locale_provider, {locale} AS locale, {rules} AS icu_rules, \
             {collation_version} AS collation_version, \
             (SELECT nullif(spcname, 'pg_default') FROM pg_tablespace t WHERE t.oid = dattablespace) AS tablespace, \
             datistemplate AS is_template, datconnlimit AS connection_limit, \
             shobj_description(d.oid, 'pg_database') AS comment, \
             coalesce((SELECT json_agg(json_build_object('role', r.rolname, 'config', s.setconfig) ORDER BY r.rolname NULLS FIRST) \
               FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole \
               WHERE s.setdatabase = d.oid AND (s.setrole = 0 OR r.oid IS NOT NULL)), '[]') AS settings, {value_settings} AS value_settings \
             FROM pg_database d WHERE datname = current_database()"
        ),
    )
    .await?;
    Ok(found.into_iter().next().unwrap_or_default())
}
