//! Reads a whole catalog in one snapshot: one kind after the other, then TimescaleDB's metadata.

use std::collections::HashMap;

use serde::Deserialize;
use tokio_postgres::Client;

use super::{
    Catalog, FORMAT, Filter, address, annotation, column, constraint, database, depend, find_unsupported,
    function, index, large_object, plain, query, rule, schema, sequence, table, types,
};
use crate::error::Error;
use crate::timescaledb;

/// Reads the catalog of the current database. `client` must have an empty `search_path`. Without an open transaction,
/// one is begun and ended here. `server_version_num` is that of its server.
///
/// # Errors
/// [`Error::Server`] when the server rejects a query, with the kind that was read, and [`Error::CatalogRow`] when a row
/// does not have the expected form.
pub async fn read(client: &Client, server_version_num: u32, filter: &Filter) -> Result<Catalog, Error> {
    let run = async |sql: &str| {
        client.batch_execute(sql).await.map_err(|error| Error::from_server("the catalog", sql, error))
    };
    // 25P01 no_active_sql_transaction
    let own = match run("SAVEPOINT catalog").await {
        Err(error) if error.sqlstate() == Some("25P01") => true,
        inside => inside.map(|()| false)?,
    };
    if !own {
        let catalog = read_all(client, server_version_num, filter).await?;
        run("RELEASE SAVEPOINT catalog").await?;
        return Ok(catalog);
    }
    run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let catalog = read_all(client, server_version_num, filter).await;
    run(if catalog.is_ok() { "COMMIT" } else { "ROLLBACK" }).await?;
    catalog
}

async fn read_all(client: &Client, version: u32, filter: &Filter) -> Result<Catalog, Error> {
    let objects = read_objects(client, version, filter).await?;
    let relations = read_relations(client, version).await?;
    assemble(client, objects, relations).await
}

/// Reads the catalog on two connections at once, each in a transaction with the same snapshot.
///
/// # Errors
/// As [`read`].
pub(crate) async fn read_on_two(
    clients: [&Client; 2],
    version: u32,
    filter: &Filter,
) -> Result<Catalog, Error> {
    let [one, other] = clients;
    let objects = read_objects(one, version, filter);
    let (objects, relations) = futures::try_join!(objects, read_relations(other, version))?;
    assemble(one, objects, relations).await
}

/// The other half of a catalog, which takes about as long as [`read_objects`].
struct Relations {
    tables: Vec<table::Table>,
    /// The columns of composite types.
    attributes: Vec<column::ColumnRow>,
    dependencies: Vec<address::Dependency>,
    aliases: Vec<address::Alias>,
    unsupported: Vec<super::Unsupported>,
}

async fn read_relations(client: &Client, version: u32) -> Result<Relations, Error> {
    let (tables, attributes) = table::read(client, version).await?;
    Ok(Relations {
        tables,
        attributes,
        dependencies: depend::read(client).await?,
        aliases: depend::read_aliases(client, version).await?,
        unsupported: find_unsupported::read(client, version).await?,
    })
}

/// A catalog without [`Relations`].
async fn read_objects(client: &Client, version: u32, filter: &Filter) -> Result<Catalog, Error> {
    Ok(Catalog {
        format: FORMAT,
        server_version_num: version,
        filter: filter.clone(),
        database: database::read(client, version).await?,
        schemas: schema::read_schemas(client).await?,
        extensions: schema::read_extensions(client).await?,
        types: types::read(client, version).await?,
        functions: function::read(client, version).await?,
        aggregates: function::read_aggregates(client).await?,
        tables: Vec::new(),
        sequences: sequence::read(client, version).await?,
        indexes: index::read(client, version).await?,
        foreign_keys: constraint::read_foreign_keys(client).await?,
        triggers: rule::read_triggers(client, version).await?,
        rules: rule::read_rules(client).await?,
        policies: rule::read_policies(client).await?,
        statistics: rule::read_statistics(client, version).await?,
        plain: plain::read(client, version).await?,
        large_objects: large_object::read_large_objects(client).await?,
        comments: annotation::read_comments(client).await?,
        security_labels: annotation::read_labels(client).await?,
        default_acls: annotation::read_default_acls(client).await?,
        builtin_acls: annotation::read_builtin_acls(client).await?,
        dependencies: Vec::new(),
        aliases: Vec::new(),
        unsupported: Vec::new(),
        left_out: Vec::new(),
        timescale: None,
    })
}

/// Joins the halves, and adds what needs both.
async fn assemble(client: &Client, objects: Catalog, relations: Relations) -> Result<Catalog, Error> {
    let Relations { tables, attributes, dependencies, aliases, unsupported } = relations;
    let mut catalog = Catalog { tables, dependencies, aliases, unsupported, ..objects };
    let mut composites: HashMap<u32, usize> = HashMap::new();
    for (i, kind) in catalog.types.iter().enumerate() {
        if let types::TypeDefinition::Composite { relation, .. } = kind.definition {
            composites.insert(relation, i);
        }
    }
    for row in attributes {
        let kind = composites.get(&row.table_oid).and_then(|&i| catalog.types.get_mut(i));
        if let Some(types::Type { definition: types::TypeDefinition::Composite { columns, .. }, .. }) = kind {
            columns.push(row.column);
        }
    }
    if catalog.extensions.iter().any(|extension| extension.meta.name == timescaledb::NAME) {
        // TimescaleDB's metadata is in views, which may be read only here.
        let kinds = read_kinds(client).await?;
        restrict(client, "").await?;
        timescaledb::read(client, &mut catalog).await?;
        restrict(client, &kinds).await?;
    }
    catalog.filter = catalog.informed(catalog.filter.clone());
    catalog.apply_filter();
    Ok(catalog)
}

/// The current `restrict_nonsystem_relation_kind`, or an empty string if the server lacks it.
async fn read_kinds(client: &Client) -> Result<String, Error> {
    #[derive(Deserialize)]
    struct Kinds {
        kinds: Option<String>,
    }
    let sql = "SELECT current_setting('restrict_nonsystem_relation_kind', true) AS kinds";
    let found: Vec<Kinds> = query::rows(client, "settings", sql).await?;
    Ok(found.into_iter().find_map(|row| row.kinds).unwrap_or_default())
}

async fn restrict(client: &Client, kinds: &str) -> Result<(), Error> {
    let sql = crate::connect::restricted(kinds, true);
    client.batch_execute(&sql).await.map_err(|error| Error::from_server("the catalog", &sql, error))
}
