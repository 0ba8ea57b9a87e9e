//! Sessions of others at the target that lock in another order: a statement that the server ends for it runs again
//! (issue 16, bad input).

use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt as _;
use pgmove::{Load, RestoreEvent, Source, SourceOptions, Target, TargetOptions};
use sandbox::PostgresOptions;

use crate::common::{database, run, server_with, session, value};

/// Two tables, and a foreign key that locks the one and then the other.
const TABLES: &str = "
    CREATE TABLE customer (id int PRIMARY KEY);
    CREATE TABLE orders (id int, customer int REFERENCES customer);
    INSERT INTO customer SELECT generate_series(1, 50);
    INSERT INTO orders SELECT n, 1 + n % 50 FROM generate_series(1, 500) n;
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_loses_a_deadlock_runs_again() {
    let settings = vec![("log_lock_waits".to_owned(), "on".to_owned())];
    let Some(server) = server_with(15, PostgresOptions { settings, ..PostgresOptions::default() }) else {
        return;
    };
    let from = database(&server, "a", TABLES).await;
    let to = database(&server, "b", "").await;
    let source = Source::open(&from, &SourceOptions::default()).await.unwrap();
    let target = Target::open(&to, &TargetOptions { jobs: 2, ..TargetOptions::default() }).await.unwrap();
    let plan = target.plan(source.catalog()).await.unwrap();
    target.pre_data(&plan).await.unwrap();
    let slices = source.slices();
    let load = |slice: &pgmove::TableSlice| Load { table: slice.table.clone(), bytes: slice.estimated_bytes };
    let loads: Vec<Load> = slices.iter().map(load).collect();
    let graph = target.graph(&plan, source.catalog(), &loads, true);
    let (all, from, to, planned) = (&slices, &source, &target, &plan);
    let load = |at: usize| {
        let slice = all.get(at)?;
        let (source, target, plan) = (from, to, planned);
        let load = async move {
            target.copy_in(plan, &slice.table, source.copy_out(slice).await?).await?;
            Ok::<_, pgmove::Error>(())
        };
        Some(load.boxed())
    };

    // Once the key is there that the foreign key needs, the other session takes the second table; when our statement has
    // the first one and waits for the second, it asks for the first. It never looks for deadlocks itself.
    let other = session(&server, "b").await;
    let looker = session(&server, "b").await;
    run(&other, "SET deadlock_timeout = '1h'; BEGIN").await;
    let runtime = tokio::runtime::Handle::current();
    let (taken, lost) = (AtomicBool::new(false), AtomicBool::new(false));
    let told = |event: RestoreEvent| {
        let RestoreEvent::Ran { object, .. } = event else { return };
        if object.contains("customer_pkey") {
            tokio::task::block_in_place(|| {
                runtime.block_on(run(&other, "LOCK TABLE public.customer IN ROW EXCLUSIVE MODE"));
            });
            taken.store(true, Ordering::SeqCst);
        }
    };
    let provoke = async {
        let waits =
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'public.customer'::regclass";
        while !taken.load(Ordering::SeqCst) || value(&looker, waits).await == "0" {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        run(&other, "LOCK TABLE public.orders IN ROW EXCLUSIVE MODE").await;
        lost.store(true, Ordering::SeqCst);
        run(&other, "COMMIT").await;
    };
    let work = target.run_graph(&plan, &graph, &load, &|_| None, &told);
    let (outcome, ()) = futures::join!(work, provoke);
    let outcome = outcome.unwrap();
    assert!(lost.load(Ordering::SeqCst));
    assert!(server.log().contains("deadlock detected"), "{}", server.log());
    source.finish().await.unwrap();
    target.post_data(&plan, &|_| ()).await.unwrap();
    target.finish(&plan, &|_| ()).await.unwrap();
    assert_eq!(outcome.read_back.len(), 2);
    let key = "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated AND conrelid = 'public.orders'::regclass";
    assert_eq!(value(&looker, key).await, "1");
}
