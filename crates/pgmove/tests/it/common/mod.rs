//! Shared code of the tests of this crate: private servers of two versions, sessions, and the main job in one call.
#![allow(dead_code, reason = "each test file uses a part")]

use futures::{FutureExt as _, StreamExt as _};
use pgmove::{
    ConnectOptions, Environment, Error, Session, Source, SourceOptions, TableName, TableProof, Target,
    TargetOptions,
};
use sandbox::{Postgres, PostgresOptions};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// The versions that every change is tried on.
pub(crate) const MAJORS: [u32; 2] = [15, 18];

/// A server of this version, or nothing and a loud word.
pub(crate) fn server(major: u32) -> Option<Postgres> {
    server_with(major, PostgresOptions::default())
}

/// The same with options of its own.
pub(crate) fn server_with(major: u32, options: PostgresOptions) -> Option<Postgres> {
    let binaries = sandbox::testing::require_postgres(major)?;
    Some(Postgres::start(&binaries, options).expect("a private server starts"))
}

/// The superuser's way to a database.
pub(crate) fn options(server: &Postgres, database: &str) -> ConnectOptions {
    ConnectOptions::parse(&server.url(database), &Environment::default()).expect("the sandbox's URL is right")
}

/// Another role's way to a database.
pub(crate) fn options_as(server: &Postgres, user: &str, database: &str) -> ConnectOptions {
    ConnectOptions::parse(&server.url_as(user, database), &Environment::default()).unwrap()
}

/// A session with the settings that every session of this crate has.
pub(crate) async fn session(server: &Postgres, database: &str) -> Session {
    pgmove::connect(&options(server, database)).await.expect("the private server is reached")
}

/// Runs statements; the whole text of a refusal is in the panic.
pub(crate) async fn run(session: &Session, sql: &str) {
    if let Err(error) = session.client().batch_execute(sql).await {
        panic!("{error:?}\n{sql}");
    }
}

/// Makes a database and fills it.
pub(crate) async fn database(server: &Postgres, name: &str, sql: &str) -> ConnectOptions {
    run(&session(server, "postgres").await, &format!("CREATE DATABASE {name}")).await;
    run(&session(server, name).await, &format!("SET search_path = public; {sql}")).await;
    options(server, name)
}

/// The first column of the first row.
pub(crate) async fn value(session: &Session, sql: &str) -> String {
    for message in session.client().simple_query(sql).await.unwrap() {
        if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
            return row.get(0).unwrap_or("<null>").to_owned();
        }
    }
    "<no row>".to_owned()
}

/// Rows and digests by table.
pub(crate) type Proofs = BTreeMap<TableName, TableProof>;

/// The main job: everything from one database into another, empty one; gives what left the source.
pub(crate) async fn copy(
    from: &ConnectOptions,
    to: &ConnectOptions,
    settings: &SourceOptions,
) -> Result<Proofs, Error> {
    copy_with(from, to, settings, &TargetOptions::default()).await
}

/// The same with options for the target. The target's proofs are compared with the source's.
pub(crate) async fn copy_with(
    from: &ConnectOptions,
    to: &ConnectOptions,
    settings: &SourceOptions,
    target_settings: &TargetOptions,
) -> Result<Proofs, Error> {
    let source = Source::open(from, settings).await?;
    assert_eq!(source.unsupported(), [], "the test's database contains unsupported objects");
    let target = Target::open(to, target_settings).await?;
    let plan = target.plan(source.catalog()).await?;
    target.pre_data(&plan).await?;
    let slices = source.slices();
    let loads: Vec<pgmove::Load> = slices
        .iter()
        .map(|slice| pgmove::Load { table: slice.table.clone(), bytes: slice.estimated_bytes })
        .collect();
    let graph = target.graph(&plan, source.catalog(), &loads, true);
    let proofs: Mutex<Vec<(TableName, TableProof)>> = Mutex::default();
    let (all, from, to, planned, proven) = (&slices, &source, &target, &plan, &proofs);
    let load = |at: usize| {
        let slice = all.get(at)?;
        let (source, target, plan, proofs) = (from, to, planned, proven);
        let load = async move {
            let mut rows = source.copy_out(slice).await?;
            let copied = match slice.number {
                (_, 1) => target.copy_in_whole(plan, &slice.table, rows.by_ref()).await?,
                _ => target.copy_in(plan, &slice.table, rows.by_ref()).await?,
            };
            let proof = rows.proof().expect("a stream that has ended has a proof");
            assert_eq!(copied, proof.rows, "{slice}");
            proofs.lock().unwrap().push((slice.table.clone(), proof));
            Ok::<_, Error>(())
        };
        Some(load.boxed())
    };
    let outcome = target.run_graph(&plan, &graph, &load, &|_| None, &|_| ()).await?;
    let proofs = proofs.into_inner().unwrap();
    source.finish().await?;
    target.post_data(&plan, &|_| ()).await?;
    target.finish(&plan, &|_| ()).await?;
    let mut sums = Proofs::new();
    for (table, proof) in proofs {
        let sum = sums.entry(table).or_default();
        *sum = *sum + proof;
    }
    for (table, proof) in &sums {
        if let Some(early) = outcome.read_back.get(table) {
            assert_eq!(early, proof, "{table}");
        }
        assert_eq!(target.prove(&plan, table).await?, *proof, "{table}");
    }
    Ok(sums)
}
