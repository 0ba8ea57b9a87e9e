//! Statistics that the target does not take as they are: only those tables are analyzed (issue 16, section 1).

use futures::FutureExt as _;
use pgmove::{ConnectOptions, Error, Load, RestoreEvent, Source, SourceOptions, Target, TargetOptions};
use std::sync::Mutex;

use crate::common::{database, server, session, value};

/// Migrates without proof, with statistics that may have been damaged on the way. Gives the warnings.
async fn migrate(
    from: &ConnectOptions,
    to: &ConnectOptions,
    damage: impl Fn(&mut pgmove::Statistics),
) -> Result<Vec<String>, Error> {
    let source = Source::open(from, &SourceOptions::default()).await?;
    let target = Target::open(to, &TargetOptions { jobs: 3, ..TargetOptions::default() }).await?;
    let mut plan = target.plan(source.catalog()).await?;
    let mut statistics = source.statistics().await?;
    damage(&mut statistics);
    assert!(target.sorts_as(source.catalog()).await?);
    target.use_statistics(&mut plan, source.catalog(), statistics);
    target.pre_data(&plan).await?;
    let slices = source.slices();
    let load = |slice: &pgmove::TableSlice| Load { table: slice.table.clone(), bytes: slice.estimated_bytes };
    let loads: Vec<Load> = slices.iter().map(load).collect();
    let graph = target.graph(&plan, source.catalog(), &loads, false);
    let (all, from, to, planned) = (&slices, &source, &target, &plan);
    let load = |at: usize| {
        let slice = all.get(at)?;
        let (source, target, plan) = (from, to, planned);
        let load = async move {
            target.copy_in(plan, &slice.table, source.copy_out(slice).await?).await?;
            Ok::<_, Error>(())
        };
        Some(load.boxed())
    };
    let said = Mutex::new(Vec::new());
    let told = |event: RestoreEvent| {
        if let RestoreEvent::Warned { warning } = event {
            said.lock().unwrap().push(warning.to_string());
        }
    };
    target.run_graph(&plan, &graph, &load, &|_| None, &told).await?;
    source.finish().await?;
    target.post_data(&plan, &told).await?;
    target.finish(&plan, &told).await?;
    Ok(said.into_inner().unwrap())
}

const ANALYZED: &str = "SELECT coalesce(string_agg(relname, ' ' ORDER BY relname), '') FROM pg_stat_user_tables WHERE analyze_count > 0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_whose_statistics_are_refused_is_analyzed_and_the_others_are_not() {
    let Some(server) = server(18) else { return };
    let mut sql = String::new();
    for n in 0..40 {
        sql += &format!(
            "CREATE TABLE t{n:02} (a int, b text) WITH (autovacuum_enabled = false); INSERT INTO t{n:02} SELECT g, 'v' || g % 3 FROM generate_series(1, 200) g;"
        );
    }
    // Values that name what is not brought.
    sql += "CREATE TABLE gone (a int); CREATE TABLE named (r regclass) WITH (autovacuum_enabled = false);
            INSERT INTO named SELECT 'gone'::regclass FROM generate_series(1, 100);
            CREATE TABLE parted (a int) PARTITION BY RANGE (a);
            CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (99) WITH (autovacuum_enabled = false);
            INSERT INTO parted SELECT g % 9 FROM generate_series(1, 900) g;
            ANALYZE; UPDATE named SET r = 't00'::regclass; ALTER TABLE gone RENAME TO left_behind;";
    let from = database(&server, "a", &sql).await;
    let damage = |statistics: &mut pgmove::Statistics| {
        for one in &mut statistics.tables {
            match one.table.name.as_str() {
                // An error and a warning of the server.
                "t07" => one.columns.push('x'),
                "t09" => {
                    one.columns =
                        one.columns.replace("\"most_common_vals\":\"{", "\"most_common_vals\":\"{v0,")
                }
                "named" => one.columns = one.columns.replace("left_behind", "nobody"),
                "parted" => one.rows = "many".to_owned(),
                _ => {}
            }
        }
    };
    let to = database(&server, "b", "").await;
    let said = migrate(&from, &to, damage).await.unwrap();
    let here = session(&server, "b").await;
    // An empty table has none.
    assert_eq!(value(&here, ANALYZED).await, "left_behind named parted t07 t09");
    for (name, why) in
        [("t07", "22P02"), ("t09", "the server warned"), ("named", "the server warned"), ("parted", "22P02")]
    {
        let told = |message: &&String| {
            message.contains(&format!("public.{name} were not accepted")) && message.contains(why)
        };
        assert_eq!(said.iter().filter(told).count(), 1, "{name}: {said:#?}");
    }
    assert_eq!(said.len(), 4, "{said:#?}");
    let every = "SELECT count(DISTINCT tablename) FROM pg_stats WHERE schemaname = 'public'";
    assert_eq!(value(&here, every).await, "43");
}
