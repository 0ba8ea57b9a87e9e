//! pgvector and tables that extensions share with the user: types, indexes with their options, rows.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "test code")]

use crate::common::{dbhaul, folder, postgres};
use sandbox::testing::require_pgvector;
use sandbox::{Postgres, PostgresOptions};

/// As the sample application keeps embeddings, and the further types and operator classes.
const MEMORY: &str = "
CREATE EXTENSION vector;
CREATE TABLE agent_memory (id bigserial PRIMARY KEY, note text, embedding vector(96) NOT NULL, half halfvec(16), bits bit(32), few sparsevec(1000));
INSERT INTO agent_memory (note, embedding, half, bits, few)
  SELECT 'n' || i, (SELECT array_agg(sin(i * k)::float4) FROM generate_series(1, 96) k)::vector,
    (SELECT array_agg(cos(i * k)::float4) FROM generate_series(1, 16) k)::vector::halfvec, (i % 1000)::int4::bit(32), format('{1:%s,%s:0.5}/1000', i, 2 + i % 900)::sparsevec
  FROM generate_series(1, 2000) i;
INSERT INTO agent_memory (embedding) SELECT array_fill('-0'::float4, '{96}')::vector UNION ALL SELECT array_fill(1.17549435e-38::float4, '{96}')::vector UNION ALL SELECT array_fill(65504::float4, '{96}')::vector;
CREATE INDEX memory_hnsw ON agent_memory USING hnsw (embedding vector_cosine_ops) WITH (m = 8, ef_construction = 40);
CREATE INDEX memory_half ON agent_memory USING hnsw (half halfvec_l2_ops);
CREATE INDEX memory_bits ON agent_memory USING hnsw (bits bit_hamming_ops);
CREATE INDEX memory_cast ON agent_memory USING hnsw ((embedding::halfvec(96)) halfvec_l2_ops);
CREATE TABLE documents (id int PRIMARY KEY, embedding vector(3));
INSERT INTO documents SELECT i, format('[%s,%s,1]', i, i * 0.1)::vector FROM generate_series(1, 3000) i;
CREATE INDEX documents_lists ON documents USING ivfflat (embedding vector_l2_ops) WITH (lists = 20);
CREATE FUNCTION near(vector) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT id FROM public.agent_memory ORDER BY embedding OPERATOR(public.<=>) $1 LIMIT 1';
";

async fn one(url: &str, sql: &str) -> String {
    postgres(url).await.query_one(sql, &[]).await.unwrap().get(0)
}

/// The nearest by the index, which must have been built and be of use.
const NEAREST: &str = "SELECT string_agg(id::text, ',') FROM (SELECT id FROM documents ORDER BY embedding <-> '[77,7.7,1]' LIMIT 3) d";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embeddings_and_their_indexes_move_up_and_down() {
    let builds = require_pgvector();
    let servers: Vec<Postgres> =
        builds.iter().map(|build| Postgres::start(build, PostgresOptions::default()).unwrap()).collect();
    let here = folder();
    for (from, to) in servers.iter().flat_map(|from| servers.iter().map(move |to| (from, to))) {
        let (source, target) =
            (format!("from{}", to.version().major()), format!("to{}", from.version().major()));
        postgres(&from.url("postgres"))
            .await
            .batch_execute(&format!("CREATE DATABASE {source}"))
            .await
            .unwrap();
        postgres(&to.url("postgres"))
            .await
            .batch_execute(&format!("CREATE DATABASE {target}"))
            .await
            .unwrap();
        let (source, target) = (from.url(&source), to.url(&target));
        postgres(&source).await.batch_execute(MEMORY).await.unwrap();
        dbhaul(here.path(), &["migrate", "--from", &source, "--to", &target])
            .exits(0)
            .shows("2 of 2 tables equal, 5,003 rows");
        dbhaul(here.path(), &["compare", &source, &target]).exits(0);
        let indexes = "SELECT string_agg(indexdef, E'\\n' ORDER BY indexname) FROM pg_indexes WHERE schemaname = 'public'";
        assert_eq!(one(&target, indexes).await, one(&source, indexes).await);
        assert!(one(&target, indexes).await.contains("ef_construction"));
        assert_eq!(one(&target, NEAREST).await, one(&source, NEAREST).await);
        // Embeddings in binary; halfvec and sparsevec have no tested binary format, and are copied as text.
        let binary = to.url(&format!("binary{}", from.version().major()));
        let migrate = ["migrate", "--from", &source, "--to", &binary, "--create", "--copy-format", "binary"];
        let plan = dbhaul(here.path(), &[&migrate[..], &["--dry-run"]].concat()).exits(0);
        plan.shows("COPY, binary");
        dbhaul(here.path(), &migrate).exits(0).shows("2 of 2 tables equal, 5,003 rows");
        eprintln!("{} -> {}: equal", from.version(), to.version());
    }
}
