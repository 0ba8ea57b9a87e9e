"""The databases that the benchmarks of PostgreSQL fill."""
import os, shutil, subprocess, tempfile

WIDE = """CREATE TABLE candle (id bigint, symbol text NOT NULL, at timestamptz NOT NULL, open numeric(18, 8), close numeric(18, 8),
  volume double precision, note text);
INSERT INTO candle SELECT n, 'SYM' || n % 97, timestamptz '2020-01-01' + n * interval '7 s', (n * 7919 % 100003) / 97.0,
  (n * 104729 % 100019) / 89.0, sqrt(n), md5(n::text) FROM generate_series(1::bigint, {size}) n;
ALTER TABLE candle ADD PRIMARY KEY (id); CREATE INDEX ON candle (symbol, at); CREATE INDEX ON candle (at DESC);
CREATE INDEX ON candle (note)"""
SQUEEZED = """CREATE TABLE accounts (aid int, bid int, abalance int, filler char(84));
INSERT INTO accounts SELECT n, n / 100000, 0, '' FROM generate_series(1, {size}) n; ALTER TABLE accounts ADD PRIMARY KEY (aid)"""
SMALL = """DO $$ BEGIN FOR n IN 1..{size} LOOP
  EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, parent int, name text NOT NULL, at timestamptz DEFAULT now())', n);
  EXECUTE format('INSERT INTO t%s SELECT i, i, md5(i::text), now() FROM generate_series(1, 500) i', n);
  EXECUTE format('CREATE INDEX ON t%s (name, at)', n);
  IF n > 1 THEN EXECUTE format('ALTER TABLE t%s ADD FOREIGN KEY (parent) REFERENCES t%s', n, n - 1); END IF;
  IF n % 500 = 0 THEN COMMIT; END IF; END LOOP; END $$"""
FUNCTIONS = """DO $$ BEGIN FOR n IN 1..{size} LOOP
  EXECUTE format('CREATE FUNCTION f%s(a int, b text) RETURNS int LANGUAGE plpgsql AS %L', n, 'BEGIN RETURN a + ' || n || '; END');
  END LOOP; END $$"""
OBJECTS = "SELECT count(lo_from_bytea(0, convert_to(repeat(md5(n::text), 30), 'UTF8'))) FROM generate_series(1, {size}) n"
PARTITIONS = """CREATE TABLE event (id bigint NOT NULL, at int NOT NULL, note text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
DO $$ BEGIN FOR n IN 1..{size} LOOP
  EXECUTE format('CREATE TABLE event_%s PARTITION OF event FOR VALUES FROM (%s) TO (%s)', n, n, n + 1); END LOOP; END $$;
INSERT INTO event SELECT n, 1 + n % {size}, md5(n::text) FROM generate_series(1, {size} * 100) n; CREATE INDEX ON event (note)"""
FILLS = dict(wide=WIDE, squeezed=SQUEEZED, small=SMALL, functions=FUNCTIONS, objects=OBJECTS, partitions=PARTITIONS)



def fill(source, shape, size, load):
    """A database `app` of this shape; `load` is the program that makes the sample application's. Gives its URL."""
    url = source.database("app")
    if shape == "app":
        subprocess.run([load, "--postgres", url, "--scale", size], check=True, stdout=subprocess.DEVNULL)
    else:
        source.psql("app", FILLS[shape].format(size=size))
    source.psql("app", "VACUUM ANALYZE")
    source.psql("postgres", "CHECKPOINT")
    return url


def working_folder():
    """A temporary folder, in memory where that has room: for minutes after files were deleted, ext4 makes new ones at a
    fraction of its speed, so that each restore would be slower by the tables of the one before."""
    memory = "/dev/shm" if os.path.isdir("/dev/shm") and shutil.disk_usage("/dev/shm").free > 8 << 30 else None
    return tempfile.mkdtemp(prefix="dbhaul-bench-", dir=memory)


def build(root):
    """Builds the binary and the program that fills the sample application's database; gives their paths."""
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(root, "target"))
    subprocess.run(["cargo", "build", "--release", "--locked", "--quiet", "-p", "dbhaul", "-p", "coinpilot",
                    "--bin", "dbhaul", "--example", "coinpilot-load"], cwd=root, check=True)
    return f"{target}/release/dbhaul", f"{target}/release/examples/coinpilot-load"
