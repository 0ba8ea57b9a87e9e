//! Kinds of objects defined by one statement and a few that complete it: operators, casts, collations, languages, text
//! search, foreign servers, publications and the like.
//!
//! The server composes the statement from its catalog: names and literals are quoted by its own functions; functions
//! and operators are written by their `reg…` types, which qualify them because the `search_path` is empty.

mod foreign;
mod operator;
mod procedural;
mod replication;
mod text_search;

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::address::{Address, class};
use super::deparsed;
use super::meta::Meta;
use super::query::rows;
use crate::error::{Error, without_secrets};

/// An object completely defined by its statements.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plain {
    /// Identity, owner and privileges.
    #[serde(flatten)]
    pub meta: Meta,
    /// The kind.
    pub kind: PlainKind,
    /// Its name in statements other than `CREATE`, ready for SQL: `public.=== (integer, integer)`.
    #[serde(deserialize_with = "deparsed::text")]
    pub identity: String,
    /// The `CREATE` statement, then those that complete it.
    #[serde(deserialize_with = "deparsed::list")]
    pub statements: Vec<String>,
    /// Clauses in the parentheses at the end of the first statement.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clauses: Vec<Clause>,
}

/// A clause that not every version supports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clause {
    /// The first version (`server_version_num`) that supports it.
    pub since: u32,
    /// The first version in which another clause replaces it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u32>,
    /// The text, ready for SQL.
    #[serde(deserialize_with = "deparsed::text")]
    pub text: String,
    /// Whether an older server, without it, would create an object with another meaning rather than one that only
    /// behaves differently.
    #[serde(default)]
    pub needed: bool,
}

impl Clause {
    /// Whether it is written for a server of this version.
    pub fn applies(&self, version: u32) -> bool {
        version >= self.since && self.until.is_none_or(|until| version < until)
    }
}

impl std::fmt::Debug for Plain {
    /// Hides the statements of user mappings and subscriptions: they may contain passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let statements: Vec<String> = self.statements.iter().cloned().map(without_secrets).collect();
        f.debug_struct("Plain")
            .field("meta", &self.meta)
            .field("kind", &self.kind)
            .field("identity", &self.identity)
            .field("statements", &statements)
            .field("clauses", &self.clauses)
            .finish()
    }
}

impl Plain {
    /// Its address in `pg_depend`.
    pub fn address(&self) -> Address {
        Address::new(self.kind.class(), self.meta.oid)
    }
}

/// The kind of a [`Plain`] object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // The names say it.
pub enum PlainKind {
    Collation,
    Language,
    AccessMethod,
    Operator,
    OperatorFamily,
    OperatorClass,
    Conversion,
    TextSearchParser,
    TextSearchTemplate,
    TextSearchDictionary,
    TextSearchConfiguration,
    ForeignDataWrapper,
    Server,
    UserMapping,
    Cast,
    Transform,
    Publication,
    PublicationTable,
    PublicationSchema,
    Subscription,
    EventTrigger,
}

impl PlainKind {
    /// The keyword in `COMMENT ON`, `ALTER … OWNER` and `DROP`.
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::Collation => "COLLATION",
            Self::Language => "LANGUAGE",
            Self::AccessMethod => "ACCESS METHOD",
            Self::Operator => "OPERATOR",
            Self::OperatorFamily => "OPERATOR FAMILY",
            Self::OperatorClass => "OPERATOR CLASS",
            Self::Conversion => "CONVERSION",
            Self::TextSearchParser => "TEXT SEARCH PARSER",
            Self::TextSearchTemplate => "TEXT SEARCH TEMPLATE",
            Self::TextSearchDictionary => "TEXT SEARCH DICTIONARY",
            Self::TextSearchConfiguration => "TEXT SEARCH CONFIGURATION",
            Self::ForeignDataWrapper => "FOREIGN DATA WRAPPER",
            Self::Server => "SERVER",
            Self::UserMapping => "USER MAPPING",
            Self::Cast => "CAST",
            Self::Transform => "TRANSFORM",
            Self::Publication => "PUBLICATION",
            Self::PublicationTable => "PUBLICATION TABLE",
            Self::PublicationSchema => "PUBLICATION TABLES IN SCHEMA",
            Self::Subscription => "SUBSCRIPTION",
            Self::EventTrigger => "EVENT TRIGGER",
        }
    }

    /// The kind's system catalog.
    pub const fn class(self) -> u32 {
        match self {
            Self::Collation => class::COLLATION,
            Self::Language => class::LANGUAGE,
            Self::AccessMethod => class::ACCESS_METHOD,
            Self::Operator => class::OPERATOR,
            Self::OperatorFamily => class::OPERATOR_FAMILY,
            Self::OperatorClass => class::OPERATOR_CLASS,
            Self::Conversion => class::CONVERSION,
            Self::TextSearchParser => class::TS_PARSER,
            Self::TextSearchTemplate => class::TS_TEMPLATE,
            Self::TextSearchDictionary => class::TS_DICTIONARY,
            Self::TextSearchConfiguration => class::TS_CONFIGURATION,
            Self::ForeignDataWrapper => class::FOREIGN_DATA_WRAPPER,
            Self::Server => class::FOREIGN_SERVER,
            Self::UserMapping => class::USER_MAPPING,
            Self::Cast => class::CAST,
            Self::Transform => class::TRANSFORM,
            Self::Publication => class::PUBLICATION,
            Self::PublicationTable => class::PUBLICATION_TABLE,
            Self::PublicationSchema => class::PUBLICATION_SCHEMA,
            Self::Subscription => class::SUBSCRIPTION,
            Self::EventTrigger => class::EVENT_TRIGGER,
        }
    }
}

/// A kind's query: a description for errors, and the SQL for a version, or `None` if the version lacks the kind. It
/// selects the fields of [`Plain`] other than `kind`.
type KindQuery = (PlainKind, &'static str, fn(u32) -> Option<String>);

const QUERIES: &[KindQuery] = &[
    (PlainKind::Collation, "collations", procedural::collations),
    (PlainKind::Language, "languages", procedural::languages),
    (PlainKind::AccessMethod, "access methods", procedural::access_methods),
    (PlainKind::Conversion, "conversions", procedural::conversions),
    (PlainKind::Cast, "casts", procedural::casts),
    (PlainKind::Transform, "transforms", procedural::transforms),
    (PlainKind::EventTrigger, "event triggers", procedural::event_triggers),
    (PlainKind::Operator, "operators", operator::operators),
    (PlainKind::OperatorFamily, "operator families", operator::families),
    (PlainKind::OperatorClass, "operator classes", operator::classes),
    (PlainKind::TextSearchParser, "text search parsers", text_search::parsers),
    (PlainKind::TextSearchTemplate, "text search templates", text_search::templates),
    (PlainKind::TextSearchDictionary, "text search dictionaries", text_search::dictionaries),
    (PlainKind::TextSearchConfiguration, "text search configurations", text_search::configurations),
    (PlainKind::ForeignDataWrapper, "foreign-data wrappers", foreign::wrappers),
    (PlainKind::Server, "foreign servers", foreign::servers),
    (PlainKind::UserMapping, "user mappings", foreign::user_mappings),
    (PlainKind::Publication, "publications", replication::publications),
    (PlainKind::PublicationTable, "tables of publications", replication::publication_tables),
    (PlainKind::PublicationSchema, "schemas of publications", replication::publication_schemas),
    (PlainKind::Subscription, "subscriptions", replication::subscriptions),
];

/// A row of such a query.
#[derive(Debug, Deserialize)]
struct Row {
    #[serde(flatten)]
    meta: Meta,
    #[serde(deserialize_with = "deparsed::text")]
    identity: String,
    #[serde(deserialize_with = "deparsed::list")]
    statements: Vec<String>,
    #[serde(default)]
    clauses: Vec<Clause>,
}

/// Reads all kinds.
pub(super) async fn read(client: &Client, version: u32) -> Result<Vec<Plain>, Error> {
    let mut out = Vec::new();
    // These statements consist of quoted names only.
    quote_all(client, "on").await?;
    let may_read_subscriptions = replication::may_read_subscriptions(client).await?;
    for (kind, what, query) in QUERIES {
        // A failed query would abort the transaction. What is skipped here is reported as unsupported.
        if *kind == PlainKind::Subscription && !may_read_subscriptions {
            continue;
        }
        let Some(sql) = query(version) else { continue };
        let found: Vec<Row> = rows(client, what, &format!("{sql} ORDER BY identity")).await?;
        out.extend(found.into_iter().map(|row| Plain {
            meta: row.meta,
            kind: *kind,
            identity: row.identity,
            statements: row.statements,
            clauses: row.clauses,
        }));
    }
    quote_all(client, "off").await?;
    Ok(out)
}

async fn quote_all(client: &Client, value: &str) -> Result<(), Error> {
    let sql = format!("SET LOCAL quote_all_identifiers = {value}");
    client.batch_execute(&sql).await.map_err(|error| Error::from_server("the catalog", &sql, error))
}
