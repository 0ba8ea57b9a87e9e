//! A partially or completely restored schema with every kind of object is resumed: existing objects are recognized,
//! and missing ones are created (issue 16, section 8).

use std::collections::BTreeSet;

use futures::TryStreamExt as _;

use crate::common;
use crate::roundtrip::{ROLES, schema_for};
use common::{copy_with, database, options, run, server, session, value};
use pgmove::ddl::Section;
use pgmove::{ConnectOptions, Error, Existing, Source, SourceOptions, Target, TargetOptions};

async fn resumed(
    from: &ConnectOptions,
    to: &ConnectOptions,
) -> Result<(Source, Target, pgmove::RestorePlan), Error> {
    let source = Source::open(from, &SourceOptions::default()).await?;
    let resume = TargetOptions { existing: Existing::Resume, ..TargetOptions::default() };
    let target = Target::open(to, &resume).await?;
    let plan = target.plan(source.catalog()).await?;
    Ok((source, target, plan))
}

/// Loads what is missing, without a graph, and verifies schema and rows.
async fn complete(from: &ConnectOptions, to: &ConnectOptions) -> usize {
    let (source, target, mut plan) = resumed(from, to).await.unwrap();
    let mut kept = BTreeSet::new();
    for table in plan.resumable() {
        let mut wanted = pgmove::TableProof::default();
        for slice in source.slices().iter().filter(|slice| *plan.proven_as(&slice.table) == table) {
            wanted = wanted + source.digest_ahead(slice).await.unwrap();
        }
        if target.prove(&plan, &table).await.unwrap() == wanted {
            kept.insert(table);
        }
    }
    let number = kept.len();
    plan.keep(kept);
    target.pre_data(&plan).await.unwrap();
    let mut slices = source.slices();
    slices.sort_by_key(|slice| plan.rank(&slice.table));
    for slice in slices.iter().filter(|slice| plan.takes(&slice.table) && !plan.keeps(&slice.table)) {
        let rows = source.copy_out(slice).await.unwrap();
        target.copy_in(&plan, &slice.table, rows.map_err(Box::new)).await.unwrap();
    }
    target.post_data(&plan, &|_| ()).await.unwrap();
    target.finish(&plan, &|_| ()).await.unwrap();
    let proof = target.prove_schema(&plan, source.catalog()).await.unwrap();
    assert!(proof.holds(), "{:#?}", proof.differences);
    for slice in source.slices().iter().filter(|slice| plan.takes(&slice.table)) {
        let table = plan.proven_as(&slice.table);
        let mut wanted = pgmove::TableProof::default();
        for slice in source.slices().iter().filter(|slice| plan.proven_as(&slice.table) == table) {
            wanted = wanted + source.digest_ahead(slice).await.unwrap();
        }
        assert_eq!(target.prove(&plan, table).await.unwrap(), wanted, "{table}");
    }
    number
}

async fn between(from_major: u32, to_major: u32, parts: &[usize]) {
    let (Some(old), Some(new)) = (server(from_major), server(to_major)) else { return };
    for server in [&old, &new] {
        for role in ROLES {
            run(&session(server, "postgres").await, &format!("CREATE ROLE {role}")).await;
        }
    }
    let major = from_major.min(to_major);
    let from = database(&old, "kinds", &schema_for(major, false)).await;
    let admin = session(&new, "postgres").await;

    // Complete objects are recognized: only materialized views are refreshed again.
    run(&admin, "CREATE DATABASE whole TEMPLATE template0").await;
    let whole = options(&new, "whole");
    copy_with(&from, &whole, &SourceOptions::default(), &TargetOptions::default()).await.unwrap();
    let (_, _, plan) = resumed(&from, &whole).await.unwrap();
    let left: Vec<String> = [Section::PreData, Section::Data, Section::PostData, Section::Finish]
        .into_iter()
        .flat_map(|section| plan.script().section(section))
        .filter(|(_, statement)| !statement.fills_view())
        .map(|(_, statement)| format!("{}: {}", statement.object, statement.sql))
        .collect();
    if from_major == to_major {
        assert!(left.is_empty(), "{left:#?}");
    }
    assert!(complete(&from, &whole).await > 3);

    // Made up to one statement or another.
    for part in parts {
        let name = format!("part_{part}");
        run(&admin, &format!("CREATE DATABASE {name} TEMPLATE template0")).await;
        let to = options(&new, &name);
        {
            let source = Source::open(&from, &SourceOptions::default()).await.unwrap();
            let target = Target::open(&to, &TargetOptions::default()).await.unwrap();
            let plan = target.plan(source.catalog()).await.unwrap();
            let statements: Vec<&str> = plan
                .script()
                .section(Section::PreData)
                .map(|(_, statement)| statement.sql.as_str())
                .collect();
            let client = session(&new, &name).await;
            for sql in statements.iter().take(statements.len() * part / 10) {
                run(&client, sql).await;
            }
        }
        complete(&from, &to).await;
    }
    assert_eq!(value(&admin, "SELECT 1").await, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_is_recognized_on_the_same_version() {
    between(15, 15, &[1, 3, 5, 7, 9]).await;
    // From 18 on a child's NOT NULL constraints get their names by statements of their own.
    between(18, 18, &[1, 3, 5, 7, 9]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_is_recognized_on_a_newer_version() {
    between(15, 18, &[1, 3, 5, 7, 9]).await;
}
