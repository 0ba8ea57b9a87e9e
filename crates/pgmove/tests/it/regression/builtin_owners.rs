//! Built-in functions owned by another role (`ALTER FUNCTION pg_stat_reset OWNER`, a case of pg_dump's own tests).

use crate::common;
use common::{MAJORS, copy, database, run, server, session, value};
use pgmove::{Source, SourceOptions, Target, TargetOptions, compare};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_built_in_function_keeps_its_owner_and_privileges() {
    for major in MAJORS {
        let Some(server) = server(major) else { return };
        run(&session(&server, "postgres").await, "CREATE ROLE stats; CREATE ROLE reader").await;
        let from = database(
            &server,
            "a",
            "ALTER FUNCTION pg_stat_reset() OWNER TO stats; REVOKE EXECUTE ON FUNCTION pg_stat_reset() FROM stats; \
             ALTER FUNCTION pg_stat_reset_shared(text) OWNER TO stats; GRANT EXECUTE ON FUNCTION pg_stat_reset_shared(text) TO reader",
        )
        .await;
        let to = database(&server, "b", "").await;
        copy(&from, &to, &SourceOptions::default()).await.unwrap();
        let found = compare(&from, &to, &Default::default(), &|_| ()).await.unwrap();
        assert!(found.equal(), "{found}");
        let said = "SELECT string_agg(concat_ws(' ', proname, proowner::regrole, proacl), ',' ORDER BY proname) FROM pg_proc \
                    WHERE proname IN ('pg_stat_reset', 'pg_stat_reset_shared')";
        assert_eq!(
            value(&session(&server, "b").await, said).await,
            value(&session(&server, "a").await, said).await
        );
        // And the proof of a migration says the same.
        let source = Source::open(&from, &SourceOptions::default()).await.unwrap();
        let target = Target::open(&to, &TargetOptions::default()).await.unwrap();
        let plan = target.plan(source.catalog()).await.unwrap();
        assert!(target.prove_schema(&plan, source.catalog()).await.unwrap().differences.is_empty());
    }
}
