-- Everything of TimescaleDB that is carried. One statement ends with each semicolon at the end of a line.
CREATE TABLE market_data (time timestamptz NOT NULL, symbol text NOT NULL, price numeric(20,8), volume double precision, "Odd Col" text);
SELECT create_hypertable('market_data', 'time', chunk_time_interval => interval '1 day');
SELECT add_dimension('market_data', 'symbol', number_partitions => 2);
INSERT INTO market_data SELECT '2026-01-01'::timestamptz + (i || ' min')::interval, 'S' || (i % 7), i * 1.5, i % 100, CASE WHEN i % 3 = 0 THEN 'x' || i END FROM generate_series(0, 20000) i;
CREATE INDEX market_symbol ON market_data (symbol, time DESC);
ALTER TABLE market_data ADD CONSTRAINT positive CHECK (volume >= 0);
ALTER TABLE market_data SET (timescaledb.compress, timescaledb.compress_segmentby = 'symbol', timescaledb.compress_orderby = 'time DESC NULLS LAST');
SELECT count(compress_chunk(c)) FROM show_chunks('market_data', older_than => '2026-01-08'::timestamptz) c;
-- An aggregate, and one that reads it; then the oldest of the rows that they were made of go.
CREATE MATERIALIZED VIEW candles WITH (timescaledb.continuous, timescaledb.materialized_only = true) AS SELECT time_bucket('1 hour', time) AS bucket, symbol, max(price) AS high, sum(volume) AS volume FROM market_data GROUP BY 1, 2 WITH NO DATA;
CALL refresh_continuous_aggregate('candles', NULL, '2026-01-12');
CREATE MATERIALIZED VIEW "Daily Candles" WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS SELECT time_bucket('1 day', bucket) AS day, symbol, sum(volume) AS "Volume!" FROM candles GROUP BY 1, 2 WITH NO DATA;
CALL refresh_continuous_aggregate('"Daily Candles"', NULL, '2026-01-11');
CREATE VIEW latest AS SELECT * FROM candles WHERE bucket > '2026-01-10';
SELECT count(*) FROM (SELECT drop_chunks('market_data', older_than => '2026-01-04'::timestamptz)) d;
ALTER MATERIALIZED VIEW candles SET (timescaledb.compress = true);
SELECT compress_chunk(c) FROM show_chunks('candles') c LIMIT 1;
-- An aggregate whose rows are all that is left.
CREATE TABLE gone (ts timestamp NOT NULL, v int);
SELECT create_hypertable('gone', 'ts', chunk_time_interval => interval '1 day');
INSERT INTO gone SELECT '2025-01-01'::timestamp + (i || ' min')::interval, i FROM generate_series(0, 5000) i;
CREATE MATERIALIZED VIEW gone_sums WITH (timescaledb.continuous, timescaledb.materialized_only = true) AS SELECT time_bucket('1 hour', ts) AS bucket, sum(v) FROM gone GROUP BY 1 WITH NO DATA;
CALL refresh_continuous_aggregate('gone_sums', NULL, NULL);
SELECT count(*) FROM (SELECT drop_chunks('gone', older_than => '2026-01-01'::timestamp)) d;
-- Time that is a number, names that must be quoted.
CREATE SCHEMA "Weird Schema";
CREATE TABLE "Weird Schema"."Sensor""s" (seq bigint NOT NULL, "dev id" int, v int, PRIMARY KEY (seq, "dev id"));
SELECT create_hypertable('"Weird Schema"."Sensor""s"', 'seq', chunk_time_interval => 1000::bigint);
CREATE FUNCTION "Weird Schema".now_seq() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT coalesce(max(seq), 0) FROM "Weird Schema"."Sensor""s"';
SELECT set_integer_now_func('"Weird Schema"."Sensor""s"', '"Weird Schema".now_seq');
INSERT INTO "Weird Schema"."Sensor""s" SELECT i, i % 5, i FROM generate_series(1, 4500) i;
CREATE MATERIALIZED VIEW "Weird Schema".seq_sums WITH (timescaledb.continuous, timescaledb.materialized_only = true) AS SELECT time_bucket(500::bigint, seq) AS b, "dev id", sum(v) AS s FROM "Weird Schema"."Sensor""s" GROUP BY 1, 2 WITH NO DATA;
CALL refresh_continuous_aggregate('"Weird Schema".seq_sums', 0::bigint, 3000::bigint);
-- An interval that was changed, a foreign key, a dropped column, a plain table between.
CREATE TABLE plain (id int PRIMARY KEY, t text);
INSERT INTO plain SELECT i, 't' || i FROM generate_series(1, 500) i;
CREATE TABLE changed (ts timestamptz NOT NULL, id int REFERENCES plain, gone int, v int DEFAULT 7);
SELECT create_hypertable('changed', 'ts', chunk_time_interval => interval '6 hours');
INSERT INTO changed SELECT '2026-02-01'::timestamptz + (i || ' hours')::interval, i % 400 + 1, i, i FROM generate_series(0, 60) i;
SELECT set_chunk_time_interval('changed', interval '3 days');
ALTER TABLE changed DROP COLUMN gone;
INSERT INTO changed SELECT '2026-03-01'::timestamptz + (i || ' hours')::interval, i % 400 + 1, i FROM generate_series(0, 200) i;
CREATE TABLE empty (ts date NOT NULL, x int);
SELECT create_hypertable('empty', 'ts');
-- Policies and a job.
SELECT add_compression_policy('market_data', interval '7 days');
SELECT add_retention_policy('market_data', interval '3650 days');
SELECT add_continuous_aggregate_policy('candles', start_offset => interval '10 days', end_offset => interval '1 hour', schedule_interval => interval '1 hour', initial_start => '2040-01-01');
SELECT add_retention_policy('candles', interval '4000 days');
CREATE FUNCTION chore(job_id int, config jsonb) RETURNS void LANGUAGE sql AS 'SELECT 1';
SELECT add_job('chore', '1 day', config => '{"a": 1}', initial_start => '2041-01-01', scheduled => false);
