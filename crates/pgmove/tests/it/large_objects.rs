//! Large objects: bytes, OIDs, owners, privileges and comments are copied; unreadable ones are reported.

use crate::common::{MAJORS, copy, database, options_as, run, server, session, value};
use pgmove::{Error, Source, SourceOptions, Target, TargetOptions, compare, large_objects_table};

/// Empty ones, some at the boundary of a piece, one with a hole, and one that is not text in any encoding.
const OBJECTS: &str = "
CREATE ROLE keeper; CREATE ROLE reader;
SELECT lo_create(70001);
SELECT lo_from_bytea(70002, '\\x00ff5c0a0d09');
SELECT lo_from_bytea(70003, decode(repeat('ab', 262144), 'hex'));
SELECT lo_from_bytea(70004, decode(repeat('cd', 262145), 'hex'));
SELECT lo_create(70005); SELECT lo_put(70005, 3000000, '\\xee');
SELECT lo_from_bytea(4294967295, '\\x01');
ALTER LARGE OBJECT 70002 OWNER TO keeper;
GRANT SELECT ON LARGE OBJECT 70003 TO reader WITH GRANT OPTION;
COMMENT ON LARGE OBJECT 70004 IS 'it''s large';
CREATE TABLE refers (id int PRIMARY KEY, object oid); INSERT INTO refers VALUES (1, 70003);
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_numbers_owners_and_remarks_arrive() {
    for major in MAJORS {
        let Some(server) = server(major) else { continue };
        let from = database(&server, "a", OBJECTS).await;
        let to = database(&server, "b", "").await;
        let proofs = copy(&from, &to, &SourceOptions::default()).await.unwrap();
        // One row for the empty one, two for those beyond one piece, and twelve up to the byte behind the hole.
        assert_eq!(proofs[&large_objects_table()].rows, 1 + 1 + 1 + 2 + 12 + 1);
        let (a, b) = (session(&server, "a").await, session(&server, "b").await);
        for question in [
            "SELECT string_agg(oid || ':' || md5(lo_get(oid)), ',' ORDER BY oid) FROM pg_largeobject_metadata",
            "SELECT string_agg(oid || ':' || lomowner::regrole || coalesce(lomacl::text, ''), ',' ORDER BY oid) FROM pg_largeobject_metadata",
            "SELECT string_agg(objoid || description, ',') FROM pg_description WHERE classoid = 'pg_largeobject'::regclass",
        ] {
            let found = value(&b, question).await;
            assert!(found.contains("7000"), "{found}");
            assert_eq!(value(&a, question).await, found);
        }
        assert!(compare(&from, &to, &Default::default(), &|_| ()).await.unwrap().equal());

        run(&b, "SELECT lo_put(70004, 262144, '\\x00')").await;
        let found = compare(&from, &to, &Default::default(), &|_| ()).await.unwrap();
        let different: Vec<_> = found.tables.iter().filter(|table| !table.equal).collect();
        assert_eq!(different.len(), 1, "{found}");
        assert_eq!(different[0].table, large_objects_table().to_string());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreadable_and_conflicting_objects_are_named() {
    for major in MAJORS {
        let Some(server) = server(major) else { continue };
        let from = database(&server, "a", OBJECTS).await;
        run(&session(&server, "a").await, "ALTER ROLE reader LOGIN; GRANT SELECT ON public.refers TO reader")
            .await;
        let settings = SourceOptions::default();
        let refused = Source::open(&options_as(&server, "reader", "a"), &settings).await.unwrap_err();
        let Error::Unreadable { objects, .. } = &refused else { panic!("{refused}") };
        let expected: Vec<String> = ["70001", "70002", "70004", "70005", "4294967295"]
            .map(|oid| format!("large object {oid}"))
            .to_vec();
        assert_eq!(*objects, expected);

        let to = database(&server, "b", "SELECT lo_create(70002)").await;
        let source = Source::open(&from, &settings).await.unwrap();
        let target = Target::open(&to, &TargetOptions::default()).await.unwrap();
        let refused = target.plan(source.catalog()).await.unwrap_err().to_string();
        assert!(refused.contains("it holds large object 70002"), "{refused}");
    }
}
