-- One object of every kind, and of every way to write it, that a PostgreSQL database can hold.
--
-- A line `-- since N` keeps what follows, up to the next empty line, from servers before N; `-- with ICU` from those
-- that were built without it. The roles kind_owner, kind_user and "kind ""role""" exist; the database is called `kinds`.

CREATE SCHEMA app AUTHORIZATION kind_owner;
CREATE SCHEMA other;
COMMENT ON SCHEMA app IS 'the application''s "own"';
GRANT USAGE ON SCHEMA app TO kind_user;
GRANT CREATE ON SCHEMA app TO "kind ""role""" WITH GRANT OPTION;
GRANT USAGE, CREATE ON SCHEMA public TO kind_user;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
COMMENT ON SCHEMA public IS 'not the usual words';
SET search_path = app, public;

CREATE EXTENSION hstore WITH SCHEMA other;
CREATE EXTENSION citext WITH SCHEMA public;
COMMENT ON EXTENSION hstore IS 'keys and values';
REVOKE ALL ON FUNCTION other.hstore(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION other.hstore(text, text) TO kind_user;

-- Types.
CREATE TYPE mood AS ENUM ('fine', 'so so', 'it''s \bad', '🚀');
CREATE TYPE no_mood AS ENUM ();
CREATE TYPE pair AS (a int, "b c" text COLLATE "C", d numeric(10, 2)[]);
CREATE TYPE no_pair AS ();
CREATE DOMAIN positive AS int DEFAULT 1 CONSTRAINT "more than none" CHECK (VALUE > 0) NOT NULL;
ALTER DOMAIN positive ADD CONSTRAINT not_huge CHECK (VALUE < 1000) NOT VALID;
CREATE DOMAIN spelled AS varchar(20) COLLATE "POSIX";
CREATE DOMAIN positives AS positive[];
CREATE TYPE floats AS RANGE (subtype = float8, subtype_diff = float8mi);
CREATE TYPE texts AS RANGE (subtype = text, collation = "C");
CREATE TYPE declared;
COMMENT ON TYPE mood IS 'how it goes';
COMMENT ON COLUMN pair."b c" IS 'of a composite type';
COMMENT ON DOMAIN positive IS 'a domain';
COMMENT ON CONSTRAINT "more than none" ON DOMAIN positive IS 'a check of a domain';
COMMENT ON CONSTRAINT not_huge ON DOMAIN positive IS 'not valid';
ALTER TYPE mood OWNER TO kind_owner;
ALTER DOMAIN positive OWNER TO kind_owner;
REVOKE USAGE ON TYPE mood FROM PUBLIC;
GRANT USAGE ON TYPE mood TO kind_user;
GRANT USAGE ON DOMAIN positive TO kind_user WITH GRANT OPTION;

-- since 14
CREATE TYPE spans AS RANGE (subtype = timestamp, multirange_type_name = many_spans);
GRANT USAGE ON TYPE spans TO kind_user;
CREATE TABLE holds_multiranges (id int, many many_spans, floats floats_multirange);

-- A base type whose functions mention it.
CREATE TYPE byte;
CREATE FUNCTION byte_in(cstring) RETURNS byte LANGUAGE internal IMMUTABLE STRICT AS 'int4in';
CREATE FUNCTION byte_out(byte) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'int4out';
CREATE FUNCTION byte_receive(internal) RETURNS byte LANGUAGE internal IMMUTABLE STRICT AS 'int4recv';
CREATE FUNCTION byte_send(byte) RETURNS bytea LANGUAGE internal IMMUTABLE STRICT AS 'int4send';
CREATE TYPE byte (INPUT = byte_in, OUTPUT = byte_out, RECEIVE = byte_receive, SEND = byte_send, INTERNALLENGTH = 4,
  PASSEDBYVALUE, ALIGNMENT = int4, STORAGE = plain, CATEGORY = 'x', PREFERRED = true, DEFAULT = '7', DELIMITER = ';');
CREATE FUNCTION byte_less(byte, byte) RETURNS bool LANGUAGE internal IMMUTABLE STRICT AS 'int4lt';
CREATE FUNCTION byte_equal(byte, byte) RETURNS bool LANGUAGE internal IMMUTABLE STRICT AS 'int4eq';
CREATE FUNCTION byte_more(byte, byte) RETURNS bool LANGUAGE internal IMMUTABLE STRICT AS 'int4gt';
CREATE FUNCTION byte_compare(byte, byte) RETURNS int LANGUAGE internal IMMUTABLE STRICT AS 'btint4cmp';
CREATE OPERATOR < (FUNCTION = byte_less, LEFTARG = byte, RIGHTARG = byte, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR > (FUNCTION = byte_more, LEFTARG = byte, RIGHTARG = byte, COMMUTATOR = <);
CREATE OPERATOR = (FUNCTION = byte_equal, LEFTARG = byte, RIGHTARG = byte, COMMUTATOR = =, MERGES, HASHES);
CREATE OPERATOR !== (FUNCTION = byte_out, RIGHTARG = byte);
COMMENT ON OPERATOR < (byte, byte) IS 'an operator';
COMMENT ON OPERATOR !== (NONE, byte) IS 'a prefix operator';
ALTER OPERATOR < (byte, byte) OWNER TO kind_owner;
CREATE OPERATOR FAMILY byte_order USING btree;
CREATE OPERATOR CLASS byte_class DEFAULT FOR TYPE byte USING btree FAMILY byte_order AS
  OPERATOR 1 <, OPERATOR 3 =, OPERATOR 5 >, FUNCTION 1 byte_compare(byte, byte);
CREATE FUNCTION byte_against_int(byte, int) RETURNS int LANGUAGE internal IMMUTABLE STRICT AS 'btint4cmp';
CREATE FUNCTION byte_below_int(byte, int) RETURNS bool LANGUAGE internal IMMUTABLE STRICT AS 'int4lt';
CREATE OPERATOR < (FUNCTION = byte_below_int, LEFTARG = byte, RIGHTARG = int);
ALTER OPERATOR FAMILY byte_order USING btree ADD OPERATOR 1 < (byte, int), FUNCTION 1 (byte, int) byte_against_int(byte, int);
CREATE OPERATOR FAMILY empty_family USING gist;
CREATE OPERATOR CLASS byte_alone FOR TYPE byte USING hash AS OPERATOR 1 =, STORAGE byte;
COMMENT ON OPERATOR FAMILY byte_order USING btree IS 'a family';
COMMENT ON OPERATOR CLASS byte_class USING btree IS 'a class';
ALTER OPERATOR CLASS byte_class USING btree OWNER TO kind_owner;
CREATE CAST (byte AS int) WITHOUT FUNCTION AS ASSIGNMENT;
CREATE CAST (text AS byte) WITH INOUT;
CREATE FUNCTION to_byte(bigint) RETURNS byte LANGUAGE sql IMMUTABLE AS 'SELECT $1::text::app.byte';
CREATE CAST (bigint AS byte) WITH FUNCTION to_byte(bigint) AS IMPLICIT;
COMMENT ON CAST (bigint AS byte) IS 'a cast';

-- Functions.
CREATE FUNCTION plain_one(a int, OUT b text, INOUT c mood, VARIADIC d text[] DEFAULT '{}') LANGUAGE plpgsql STABLE
  PARALLEL SAFE COST 7 SECURITY DEFINER SET search_path = app, pg_temp SET work_mem = '8MB' AS $body$ BEGIN b := $$dollar$$; END $body$;
CREATE FUNCTION rows_of(n int DEFAULT 3) RETURNS SETOF int LANGUAGE sql LEAKPROOF ROWS 5 STRICT AS 'SELECT generate_series(1, n)';
CREATE FUNCTION table_of() RETURNS TABLE (a int, "B" text) LANGUAGE sql AS $$ SELECT 1, 'x' $$;
CREATE FUNCTION helps(internal) RETURNS internal LANGUAGE internal AS 'generate_series_int4_support';
CREATE FUNCTION helped(int) RETURNS SETOF int LANGUAGE sql SUPPORT app.helps AS 'SELECT $1';
CREATE FUNCTION own_row_number() RETURNS bigint LANGUAGE internal WINDOW IMMUTABLE AS 'window_row_number';
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE PROCEDURE act(INOUT a int) LANGUAGE plpgsql AS $$ BEGIN a := a + 1; COMMIT; END $$;
COMMENT ON FUNCTION rows_of(int) IS 'a function';
COMMENT ON PROCEDURE act(int) IS 'a procedure';
ALTER FUNCTION rows_of(int) OWNER TO kind_owner;
ALTER PROCEDURE act(int) OWNER TO kind_owner;
REVOKE ALL ON FUNCTION rows_of(int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION rows_of(int) TO kind_user;
GRANT EXECUTE ON PROCEDURE act(int) TO kind_user;
CREATE FUNCTION halves(float8, float8) RETURNS float8 LANGUAGE sql IMMUTABLE AS 'SELECT $1 + $2 / 2';
CREATE AGGREGATE half_sum(float8) (SFUNC = halves, STYPE = float8, INITCOND = '0', SSPACE = 9, PARALLEL = safe, COMBINEFUNC = float8pl,
  MSFUNC = float8pl, MINVFUNC = float8mi, MSTYPE = float8, MINITCOND = '0', FINALFUNC_MODIFY = READ_ONLY);
CREATE AGGREGATE own_count(*) (SFUNC = int8inc, STYPE = bigint, INITCOND = '0');
CREATE AGGREGATE own_max(float8) (SFUNC = float8larger, STYPE = float8, SORTOP = >);
CREATE AGGREGATE own_percentile(float8 ORDER BY float8) (SFUNC = pg_catalog.ordered_set_transition, STYPE = internal,
  FINALFUNC = pg_catalog.percentile_cont_float8_final);
CREATE AGGREGATE own_rank(VARIADIC "any" ORDER BY VARIADIC "any") (SFUNC = ordered_set_transition_multi, STYPE = internal,
  FINALFUNC = rank_final, FINALFUNC_EXTRA, HYPOTHETICAL);
COMMENT ON AGGREGATE half_sum(float8) IS 'an aggregate';
COMMENT ON AGGREGATE own_count(*) IS 'an aggregate of everything';
ALTER AGGREGATE half_sum(float8) OWNER TO kind_owner;
GRANT EXECUTE ON FUNCTION half_sum(float8) TO kind_user;
GRANT EXECUTE ON FUNCTION own_count() TO kind_user;
REVOKE EXECUTE ON FUNCTION own_percentile(float8, float8) FROM PUBLIC;

-- since 14
CREATE FUNCTION sql_body(n int) RETURNS int LANGUAGE sql IMMUTABLE RETURN n * 2 + 1;
CREATE PROCEDURE sql_block(OUT o int) LANGUAGE sql BEGIN ATOMIC SELECT 'a;b'::text AS t; SELECT 7; END;

-- Languages, access methods, conversions, collations, text search, transforms.
CREATE TRUSTED LANGUAGE own_language HANDLER plpgsql_call_handler INLINE plpgsql_inline_handler VALIDATOR plpgsql_validator;
COMMENT ON LANGUAGE own_language IS 'a language';
ALTER LANGUAGE own_language OWNER TO kind_owner;
GRANT USAGE ON LANGUAGE own_language TO kind_user;
REVOKE USAGE ON LANGUAGE own_language FROM PUBLIC;
CREATE FUNCTION in_own_language() RETURNS int LANGUAGE own_language AS $$ BEGIN RETURN 1; END $$;
CREATE ACCESS METHOD own_heap TYPE TABLE HANDLER heap_tableam_handler;
CREATE ACCESS METHOD own_tree TYPE INDEX HANDLER bthandler;
COMMENT ON ACCESS METHOD own_tree IS 'an access method';
CREATE OPERATOR CLASS own_tree_class DEFAULT FOR TYPE numeric USING own_tree AS
  OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 numeric_cmp(numeric, numeric);
CREATE DEFAULT CONVERSION own_conversion FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
COMMENT ON CONVERSION own_conversion IS 'a conversion';
ALTER CONVERSION own_conversion OWNER TO kind_owner;
CREATE COLLATION own_collation (LC_COLLATE = 'C', LC_CTYPE = 'POSIX');
CREATE COLLATION copied_collation FROM "C";
COMMENT ON COLLATION own_collation IS 'a collation';
ALTER COLLATION own_collation OWNER TO kind_owner;
CREATE TEXT SEARCH PARSER own_parser (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, HEADLINE = prsd_headline, LEXTYPES = prsd_lextype);
CREATE TEXT SEARCH TEMPLATE own_template (INIT = dsimple_init, LEXIZE = dsimple_lexize);
CREATE TEXT SEARCH DICTIONARY own_dictionary (TEMPLATE = simple, accept = false, stopwords = 'english');
CREATE TEXT SEARCH DICTIONARY templated (TEMPLATE = own_template);
CREATE TEXT SEARCH CONFIGURATION own_configuration (PARSER = own_parser);
ALTER TEXT SEARCH CONFIGURATION own_configuration ADD MAPPING FOR asciiword, word WITH own_dictionary, english_stem;
ALTER TEXT SEARCH CONFIGURATION own_configuration ADD MAPPING FOR email WITH simple;
CREATE TEXT SEARCH CONFIGURATION copied_configuration (COPY = english);
COMMENT ON TEXT SEARCH PARSER own_parser IS 'a parser';
COMMENT ON TEXT SEARCH TEMPLATE own_template IS 'a template';
COMMENT ON TEXT SEARCH DICTIONARY own_dictionary IS 'a dictionary';
COMMENT ON TEXT SEARCH CONFIGURATION own_configuration IS 'a configuration';
ALTER TEXT SEARCH DICTIONARY own_dictionary OWNER TO kind_owner;
ALTER TEXT SEARCH CONFIGURATION own_configuration OWNER TO kind_owner;
CREATE FUNCTION to_sql(internal) RETURNS int LANGUAGE internal STRICT IMMUTABLE AS 'int4recv';
CREATE FUNCTION from_sql(internal) RETURNS internal LANGUAGE internal STRICT IMMUTABLE AS 'prsd_lextype';
CREATE TRANSFORM FOR int LANGUAGE own_language (FROM SQL WITH FUNCTION from_sql(internal), TO SQL WITH FUNCTION to_sql(internal));
COMMENT ON TRANSFORM FOR int LANGUAGE own_language IS 'a transform';

-- Tables.
CREATE TABLE nothing ();
INSERT INTO nothing DEFAULT VALUES;
CREATE TABLE base (
  id int GENERATED ALWAYS AS IDENTITY (START 10 INCREMENT 5 MINVALUE 1 MAXVALUE 1000 CACHE 3 CYCLE) PRIMARY KEY,
  other bigint GENERATED BY DEFAULT AS IDENTITY, s serial, small smallserial, b byte DEFAULT '9',
  m mood NOT NULL DEFAULT 'fine'::mood, p pair, name text COLLATE "C", "Mixed ""Case""" varchar(7), n numeric(12, 3) DEFAULT 1.5,
  twice int GENERATED ALWAYS AS (length(name) * 2) STORED, arr int[] DEFAULT ARRAY[1, 2], at timestamptz DEFAULT now(),
  hs other.hstore, ci public.citext, dropped int, CONSTRAINT "has a name" CHECK (name <> ''), CHECK (n > 0) NO INHERIT,
  CONSTRAINT "unique name" UNIQUE (name) INCLUDE (n) DEFERRABLE INITIALLY DEFERRED
) WITH (fillfactor = 70, autovacuum_enabled = false, toast.autovacuum_enabled = false, user_catalog_table = true);
ALTER TABLE base DROP COLUMN dropped;
ALTER TABLE base ADD CONSTRAINT later CHECK (n < 100000) NOT VALID;
ALTER TABLE base ALTER COLUMN name SET STATISTICS 77, ALTER COLUMN name SET STORAGE EXTERNAL, ALTER COLUMN n SET (n_distinct = -0.5, n_distinct_inherited = 5);
INSERT INTO base (name, p, hs, ci) SELECT 'name ' || g, ROW(g, 'x', '{1.10,2}')::pair, 'a=>1', 'Ci' FROM generate_series(1, 20) g;
COMMENT ON TABLE base IS E'a table\nwith a line break, \\ and ''quotes''';
COMMENT ON COLUMN base."Mixed ""Case""" IS 'a column';
COMMENT ON CONSTRAINT "has a name" ON base IS 'a check';
COMMENT ON CONSTRAINT "unique name" ON base IS 'a unique constraint';
COMMENT ON INDEX base_pkey IS 'the index of a constraint';
COMMENT ON CONSTRAINT later ON base IS 'a check that is not valid';
COMMENT ON SEQUENCE base_s_seq IS 'a sequence';
COMMENT ON SEQUENCE base_id_seq IS 'of an identity column';
ALTER TABLE base OWNER TO kind_owner;
GRANT SELECT ON base TO PUBLIC;
GRANT INSERT, UPDATE ON base TO kind_user WITH GRANT OPTION;
GRANT SELECT (id, name), UPDATE ("Mixed ""Case""") ON base TO "kind ""role""";
REVOKE DELETE ON base FROM kind_owner;
GRANT USAGE, SELECT ON SEQUENCE base_s_seq TO kind_user;
GRANT UPDATE ON SEQUENCE base_id_seq TO kind_user;
SET SESSION AUTHORIZATION kind_user;
GRANT INSERT ON base TO "kind ""role""";
RESET SESSION AUTHORIZATION;

CREATE UNLOGGED TABLE fleeting (a serial, b text);
CREATE TABLE own_stored (a int) USING own_heap;
CREATE TABLE typed OF pair (a WITH OPTIONS PRIMARY KEY DEFAULT 4, "b c" NOT NULL);
CREATE TABLE parent (a int, b text DEFAULT 'p', c int CHECK (c > 0));
CREATE TABLE second_parent (b text, z int NOT NULL);
CREATE TABLE child (d int, c int DEFAULT 3) INHERITS (parent, second_parent);
ALTER TABLE child ALTER COLUMN b SET DEFAULT 'c', ALTER COLUMN a SET NOT NULL;
CREATE TABLE grandchild (CONSTRAINT own CHECK (d > 1), CONSTRAINT parent_c_check CHECK (c > 0)) INHERITS (child);
ALTER TABLE grandchild ALTER COLUMN b DROP DEFAULT;
CREATE TABLE generated_parent (a int, g int GENERATED ALWAYS AS (a + 1) STORED);
CREATE TABLE generated_child (x int) INHERITS (generated_parent);
INSERT INTO grandchild (a, c, z, d) VALUES (1, 2, 3, 4);

-- since 16
CREATE TABLE generated_other (g int GENERATED ALWAYS AS (a + 2) STORED) INHERITS (generated_parent);
INSERT INTO generated_other (a) VALUES (7);

-- since 14
CREATE TABLE compressed (a text COMPRESSION pglz, b text);

-- Partitions.
CREATE TABLE parted (id int NOT NULL, at date NOT NULL, note text DEFAULT 'all', CHECK (id > 0)) PARTITION BY RANGE (at, lower(note));
CREATE TABLE parted_old PARTITION OF parted (note DEFAULT 'old') FOR VALUES FROM (MINVALUE, MINVALUE) TO ('2020-01-01', 'x');
CREATE TABLE parted_new PARTITION OF parted FOR VALUES FROM ('2020-01-01', 'x') TO (MAXVALUE, MAXVALUE) PARTITION BY HASH (id);
CREATE TABLE other.hashed_0 PARTITION OF parted_new FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE other.hashed_1 (note text, extra int, at date NOT NULL, id int NOT NULL CHECK (id > 0));
ALTER TABLE other.hashed_1 DROP COLUMN extra;
ALTER TABLE other.hashed_1 ADD CONSTRAINT parted_id_check CHECK (id > 0);
ALTER TABLE parted_new ATTACH PARTITION other.hashed_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE listed (k text, v int) PARTITION BY LIST (k);
CREATE TABLE listed_a PARTITION OF listed FOR VALUES IN ('a', 'it''s', NULL);
CREATE TABLE listed_rest PARTITION OF listed DEFAULT;
CREATE TABLE detached (k text, v int);
INSERT INTO parted SELECT g, date '2019-12-20' + g FROM generate_series(1, 30) g;
INSERT INTO listed VALUES ('a', 1), ('b', 2), (NULL, 3);
CREATE INDEX parted_note ON parted (note) INCLUDE (id) WHERE id > 1;
CREATE INDEX parted_only ON ONLY parted (at);
CREATE INDEX parted_old_at ON parted_old (at);
ALTER INDEX parted_only ATTACH PARTITION parted_old_at;
COMMENT ON INDEX parted_note IS 'a partitioned index';
CREATE TABLE keyed (id int, k int, PRIMARY KEY (k, id)) PARTITION BY LIST (k);
CREATE TABLE keyed_1 PARTITION OF keyed FOR VALUES IN (1);
CREATE TABLE keyed_2 (id int NOT NULL, k int NOT NULL, CONSTRAINT "own key" PRIMARY KEY (k, id));
ALTER TABLE keyed ATTACH PARTITION keyed_2 FOR VALUES IN (2);
INSERT INTO keyed VALUES (1, 1), (2, 2);
CREATE TABLE points_to_keyed (k int, id int, FOREIGN KEY (k, id) REFERENCES keyed ON UPDATE CASCADE ON DELETE SET NULL);
INSERT INTO points_to_keyed VALUES (1, 1), (NULL, 5);
ALTER TABLE parted ADD COLUMN base_id int CONSTRAINT parted_to_base REFERENCES base (id) DEFERRABLE;
COMMENT ON CONSTRAINT parted_to_base ON parted IS 'a foreign key';

-- Sequences.
CREATE SEQUENCE alone AS smallint START 7 INCREMENT -2 MINVALUE -100 MAXVALUE 50 CACHE 2 CYCLE;
CREATE SEQUENCE owned OWNED BY parent.c;
CREATE SEQUENCE never_used;
SELECT nextval('alone'), setval('owned', 42, false);
ALTER SEQUENCE alone OWNER TO kind_owner;
GRANT ALL ON SEQUENCE alone TO kind_user;

-- since 15
CREATE UNLOGGED SEQUENCE fleeting_sequence;
CREATE TABLE nulls (a int UNIQUE NULLS NOT DISTINCT, b int);
CREATE UNIQUE INDEX nulls_b ON nulls (b) NULLS NOT DISTINCT;
CREATE VIEW invoked WITH (security_invoker = true) AS SELECT 1 AS a;
CREATE TABLE set_some (k int, id int, FOREIGN KEY (k, id) REFERENCES keyed ON DELETE SET NULL (id));

-- Constraints and indexes.
CREATE TABLE links (id int, base_id int, self int, during int4range, room int, EXCLUDE USING gist (during WITH &&) WHERE (room > 0),
  CONSTRAINT links_pkey PRIMARY KEY (id) WITH (fillfactor = 80), CONSTRAINT to_base FOREIGN KEY (base_id) REFERENCES base MATCH FULL ON DELETE CASCADE);
ALTER TABLE links ADD CONSTRAINT to_self FOREIGN KEY (self) REFERENCES links NOT VALID;
ALTER TABLE base ADD COLUMN link int REFERENCES links (id) DEFERRABLE INITIALLY DEFERRED;
CREATE INDEX expressions ON base (lower(name), (n * 2) DESC NULLS LAST, m) WITH (fillfactor = 60) WHERE n > 1 AND name <> 'x''y';
CREATE INDEX gins ON base USING gin (arr) WITH (fastupdate = off);
CREATE INDEX collated ON base (name COLLATE "POSIX" text_pattern_ops);
CREATE INDEX of_own_class ON base USING btree (b byte_class);
ALTER INDEX expressions ALTER COLUMN 2 SET STATISTICS 99;
ALTER TABLE base CLUSTER ON "unique name";
ALTER TABLE links CLUSTER ON links_pkey;
ALTER TABLE links REPLICA IDENTITY USING INDEX links_pkey;
ALTER TABLE nothing REPLICA IDENTITY FULL;
ALTER TABLE fleeting REPLICA IDENTITY NOTHING;
COMMENT ON INDEX expressions IS 'an index';
CREATE STATISTICS related (dependencies, ndistinct) ON n, name FROM base;
CREATE STATISTICS other.all_kinds ON n, m, id FROM base;
COMMENT ON STATISTICS related IS 'statistics';
ALTER STATISTICS related OWNER TO kind_owner;

-- since 13
ALTER STATISTICS related SET STATISTICS 500;

-- since 14
CREATE STATISTICS of_expressions (mcv) ON (n * 2), lower(name), m FROM base;

-- Views, with cycles and what hangs on primary keys.
CREATE VIEW seen (one, "Two") WITH (security_barrier) AS SELECT id, name FROM base WHERE n > 1 WITH CASCADED CHECK OPTION;
ALTER VIEW seen ALTER COLUMN "Two" SET DEFAULT 'given';
CREATE VIEW over_seen AS SELECT s.*, 'it''s'::text AS t FROM seen s WITH LOCAL CHECK OPTION;
CREATE VIEW grouped AS SELECT base.*, count(*) AS c FROM base JOIN links ON links.base_id = base.id GROUP BY base.id;
CREATE VIEW over_grouped AS SELECT id, c FROM grouped;
CREATE VIEW itself AS SELECT 1 AS a;
CREATE FUNCTION of_itself() RETURNS SETOF itself LANGUAGE sql AS 'SELECT 1';
CREATE OR REPLACE VIEW itself AS SELECT 1 AS a FROM of_itself();
CREATE RECURSIVE VIEW counting (n) AS VALUES (1) UNION ALL SELECT n + 1 FROM counting WHERE n < 5;
CREATE MATERIALIZED VIEW stored WITH (fillfactor = 90) AS SELECT id, name FROM seen JOIN base ON one = id;
CREATE MATERIALIZED VIEW over_stored AS SELECT count(*) AS n, 'x'::text AS x FROM stored;
CREATE MATERIALIZED VIEW never_filled AS SELECT 1 AS a WITH NO DATA;
CREATE MATERIALIZED VIEW grouped_stored AS SELECT base.*, count(*) AS c FROM base JOIN links ON links.base_id = base.id GROUP BY base.id;
CREATE UNIQUE INDEX stored_id ON stored (id);
ALTER MATERIALIZED VIEW stored ALTER COLUMN name SET STATISTICS 5;
ALTER MATERIALIZED VIEW stored CLUSTER ON stored_id;
COMMENT ON VIEW seen IS 'a view';
COMMENT ON COLUMN seen."Two" IS 'a column of a view';
COMMENT ON MATERIALIZED VIEW stored IS 'a materialized view';
COMMENT ON COLUMN stored.id IS 'a column of one';
ALTER VIEW seen OWNER TO kind_owner;
GRANT SELECT ON seen TO kind_user;
GRANT SELECT (one) ON over_seen TO kind_user;
GRANT SELECT ON stored TO kind_user;
CREATE FUNCTION count_links(int) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM app.links WHERE base_id = $1';
ALTER TABLE links ADD CHECK (count_links(room) >= 0);
ALTER TABLE links ADD COLUMN counted bigint DEFAULT count_links(1);
CREATE TABLE fits_row (r base, rs base[]);
CREATE FUNCTION next_of(t parent) RETURNS int LANGUAGE sql AS 'SELECT t.a + 1';
CREATE VIEW calls AS SELECT p.next_of FROM parent p;

-- since 14
CREATE FUNCTION needs_key(i int) RETURNS SETOF text LANGUAGE sql BEGIN ATOMIC SELECT name FROM base GROUP BY id; END;
CREATE VIEW over_needs_key AS SELECT * FROM needs_key(1);

-- Triggers, rules, event triggers.
CREATE TRIGGER before_row BEFORE INSERT OR UPDATE OF name, n ON base FOR EACH ROW WHEN (NEW.n > 0 AND NEW.name <> 'it''s') EXECUTE FUNCTION touch('a', 'it''s');
CREATE TRIGGER after_all AFTER DELETE ON base REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION touch();
CREATE TRIGGER truncated BEFORE TRUNCATE ON base EXECUTE FUNCTION touch();
CREATE CONSTRAINT TRIGGER checked AFTER INSERT ON links FROM base DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER instead INSTEAD OF INSERT ON grouped FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER off BEFORE INSERT ON base FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER at_replica BEFORE INSERT ON base FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER at_all BEFORE INSERT ON base FOR EACH ROW EXECUTE FUNCTION touch();
ALTER TABLE base DISABLE TRIGGER off, ENABLE REPLICA TRIGGER at_replica, ENABLE ALWAYS TRIGGER at_all;
CREATE TRIGGER of_all_parts AFTER INSERT ON parted FOR EACH ROW EXECUTE FUNCTION touch();
ALTER TABLE parted_old DISABLE TRIGGER of_all_parts;
COMMENT ON TRIGGER before_row ON base IS 'a trigger';
CREATE RULE also AS ON INSERT TO links WHERE NEW.id > 5 DO ALSO DELETE FROM nothing;
CREATE RULE notifies AS ON DELETE TO links DO ALSO NOTIFY "a channel";
CREATE RULE never AS ON DELETE TO seen DO INSTEAD NOTHING;
CREATE RULE several AS ON UPDATE TO seen DO INSTEAD (UPDATE base SET name = NEW."Two" WHERE id = OLD.one; DELETE FROM links WHERE id = OLD.one RETURNING id, 'x'::text);
CREATE RULE disabled AS ON UPDATE TO links DO NOTHING;
ALTER TABLE links DISABLE RULE disabled;
COMMENT ON RULE also ON links IS 'a rule';
CREATE EVENT TRIGGER watches ON ddl_command_start WHEN TAG IN ('CREATE SCHEMA', 'DROP TABLE') EXECUTE FUNCTION watch();
CREATE EVENT TRIGGER watches_not ON sql_drop EXECUTE FUNCTION watch();
ALTER EVENT TRIGGER watches_not DISABLE;
CREATE EVENT TRIGGER watches_always ON ddl_command_end EXECUTE FUNCTION watch();
ALTER EVENT TRIGGER watches_always ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER watches IS 'an event trigger';

-- What goes away with an extension.
ALTER FUNCTION halves(float8, float8) DEPENDS ON EXTENSION hstore;
ALTER PROCEDURE act(int) DEPENDS ON EXTENSION citext;
ALTER INDEX gins DEPENDS ON EXTENSION hstore;
ALTER MATERIALIZED VIEW over_stored DEPENDS ON EXTENSION hstore;
ALTER TRIGGER before_row ON base DEPENDS ON EXTENSION hstore;

-- Row security.
ALTER TABLE base ENABLE ROW LEVEL SECURITY;
ALTER TABLE base FORCE ROW LEVEL SECURITY;
ALTER TABLE links FORCE ROW LEVEL SECURITY;
ALTER TABLE parted ENABLE ROW LEVEL SECURITY;
CREATE POLICY for_all ON base USING (id > 0) WITH CHECK (name <> current_user);
CREATE POLICY for_select ON base FOR SELECT TO kind_user, "kind ""role""" USING (true);
CREATE POLICY for_insert ON base FOR INSERT TO PUBLIC WITH CHECK (n > 1);
CREATE POLICY for_update ON base FOR UPDATE TO CURRENT_USER USING (n > 1) WITH CHECK (n > 2);
CREATE POLICY for_delete ON base AS RESTRICTIVE FOR DELETE USING (id IN (SELECT base_id FROM links));
COMMENT ON POLICY for_all ON base IS 'a policy';

-- Foreign things.
CREATE FOREIGN DATA WRAPPER own_wrapper OPTIONS (debug 'true', "Odd name" 'it''s');
CREATE SERVER own_server TYPE 'a type' VERSION '1.0' FOREIGN DATA WRAPPER own_wrapper OPTIONS (host 'h', dbname 'd\b');
CREATE SERVER plain_server FOREIGN DATA WRAPPER own_wrapper;
CREATE USER MAPPING FOR kind_user SERVER own_server OPTIONS (user 'u', password 'it''s secret');
CREATE USER MAPPING FOR PUBLIC SERVER own_server;
CREATE USER MAPPING FOR CURRENT_USER SERVER plain_server;
CREATE FOREIGN TABLE away (id int OPTIONS (column_name 'no') NOT NULL, t text COLLATE "C" DEFAULT 'x', CHECK (id > 0)) SERVER own_server OPTIONS (table_name 'a "b"', updatable 'false');
CREATE FOREIGN TABLE away_part PARTITION OF listed FOR VALUES IN ('away') SERVER own_server;
ALTER FOREIGN TABLE away ALTER COLUMN t SET STATISTICS 3;
COMMENT ON FOREIGN DATA WRAPPER own_wrapper IS 'a wrapper';
COMMENT ON SERVER own_server IS 'a server';
COMMENT ON FOREIGN TABLE away IS 'a foreign table';
COMMENT ON COLUMN away.id IS 'its column';
ALTER SERVER own_server OWNER TO kind_owner;
ALTER FOREIGN TABLE away OWNER TO kind_owner;
GRANT USAGE ON FOREIGN DATA WRAPPER own_wrapper TO kind_user;
GRANT USAGE ON FOREIGN SERVER own_server TO kind_user WITH GRANT OPTION;
GRANT SELECT ON away TO kind_user;
CREATE TRIGGER foreign_trigger AFTER INSERT ON away FOR EACH ROW EXECUTE FUNCTION touch();

-- Publications and subscriptions.
CREATE PUBLICATION everything FOR ALL TABLES WITH (publish = 'insert, truncate');
CREATE PUBLICATION "some things" FOR TABLE links, other.hashed_0;
CREATE PUBLICATION nothing_yet WITH (publish = '');
COMMENT ON PUBLICATION everything IS 'a publication';
ALTER PUBLICATION nothing_yet OWNER TO CURRENT_USER;
CREATE SUBSCRIPTION reads CONNECTION 'host=nowhere dbname=''a b'' password=secret' PUBLICATION "a,b", c WITH (connect = false, slot_name = 'of_reads');
CREATE SUBSCRIPTION "reads nothing" CONNECTION 'dbname=none' PUBLICATION p WITH (connect = false, slot_name = NONE, synchronous_commit = 'local');
COMMENT ON SUBSCRIPTION reads IS 'a subscription';

-- since 13
CREATE PUBLICATION by_root FOR TABLE ONLY parted WITH (publish_via_partition_root = true);

-- since 14
CREATE SUBSCRIPTION in_binary CONNECTION 'dbname=none' PUBLICATION p WITH (connect = false, slot_name = NONE, binary = true, streaming = true);

-- since 15
CREATE PUBLICATION chosen FOR TABLE points_to_keyed (k, id), parent WHERE (a > 5 AND b <> 'it''s');
CREATE PUBLICATION by_schema FOR TABLE base, TABLES IN SCHEMA other;
CREATE SUBSCRIPTION in_two CONNECTION 'dbname=none' PUBLICATION p WITH (connect = false, slot_name = NONE, two_phase = true, disable_on_error = true);

-- since 16
CREATE SUBSCRIPTION only_own CONNECTION 'dbname=none' PUBLICATION p WITH (connect = false, slot_name = NONE, origin = none, streaming = parallel, run_as_owner = true, password_required = false);
CREATE TABLE main_stored (a text STORAGE main, b bytea STORAGE PLAIN);

-- since 17
CREATE COLLATION built_in (provider = builtin, locale = 'C.UTF-8');
CREATE TABLE identity_parted (id int GENERATED ALWAYS AS IDENTITY, k int) PARTITION BY LIST (k);
CREATE TABLE identity_parted_1 PARTITION OF identity_parted FOR VALUES IN (1);
INSERT INTO identity_parted (k) VALUES (1), (1);
CREATE TABLE exclusive (id int, at date, during daterange, EXCLUDE USING gist (during WITH &&)) ;
CREATE TABLE method_parted (a int) PARTITION BY LIST (a) USING own_heap;
CREATE TABLE heap_parted (a int) PARTITION BY LIST (a) USING heap;
GRANT MAINTAIN ON parent TO kind_user;
CREATE FUNCTION merged(i int) RETURNS void LANGUAGE sql BEGIN ATOMIC
  MERGE INTO parent t USING (VALUES (1, 'x'), (2, 'y')) AS s (a, b) ON t.a = s.a WHEN MATCHED AND t.c > i THEN UPDATE SET b = s.b
    WHEN NOT MATCHED BY SOURCE THEN DELETE WHEN NOT MATCHED THEN INSERT (a, b) VALUES (s.a, s.b); END;
CREATE VIEW json_table AS SELECT * FROM json_table('[{"a": 1}]'::jsonb, '$[*]' COLUMNS (n FOR ORDINALITY, a int PATH '$.a' DEFAULT 0 ON EMPTY));
CREATE VIEW json_made AS SELECT JSON_OBJECT('a' : 1 NULL ON NULL RETURNING jsonb) AS o, JSON_VALUE('{}'::jsonb, '$.a' RETURNING int) AS v;
CREATE SUBSCRIPTION fails_over CONNECTION 'dbname=none' PUBLICATION p WITH (connect = false, slot_name = NONE, failover = true);
CREATE DOMAIN named_not_null AS int CONSTRAINT "must be there" NOT NULL;
COMMENT ON CONSTRAINT "must be there" ON DOMAIN named_not_null IS 'a not-null constraint of a domain';

-- since 18
CREATE TABLE named (a int CONSTRAINT "a is there" NOT NULL, b int NOT NULL NO INHERIT, c int, d int NOT NULL, e int GENERATED ALWAYS AS (a * 2),
  f text GENERATED ALWAYS AS (a::text || 'x') VIRTUAL NOT NULL);
ALTER TABLE named ADD CONSTRAINT c_there NOT NULL c NOT VALID;
COMMENT ON CONSTRAINT "a is there" ON named IS 'a not-null constraint';
COMMENT ON CONSTRAINT c_there ON named IS 'one that is not valid';
CREATE TABLE named_child (g int) INHERITS (named);
ALTER TABLE named_child ADD CONSTRAINT own_b NOT NULL b;
CREATE TABLE named_parted (a int CONSTRAINT pa NOT NULL, b int) PARTITION BY LIST (b);
CREATE TABLE named_part PARTITION OF named_parted FOR VALUES IN (1);
CREATE TABLE named_part_2 (a int CONSTRAINT own_name NOT NULL, b int CONSTRAINT only_here NOT NULL);
ALTER TABLE named_parted ATTACH PARTITION named_part_2 FOR VALUES IN (2);
ALTER TABLE named_parted ADD CONSTRAINT pb NOT NULL b NOT VALID;
CREATE TABLE rooms (id int4range, during daterange, CONSTRAINT rooms_pk PRIMARY KEY (id, during WITHOUT OVERLAPS));
CREATE TABLE stays (id int4range, during daterange, room int4range, UNIQUE (id, during WITHOUT OVERLAPS),
  CONSTRAINT in_room FOREIGN KEY (room, PERIOD during) REFERENCES rooms (id, PERIOD during));
INSERT INTO rooms VALUES ('[1,2)', '[2020-01-01,2021-01-01)');
INSERT INTO stays VALUES ('[5,6)', '[2020-02-01,2020-03-01)', '[1,2)');
CREATE TABLE not_enforced (a int CONSTRAINT loose CHECK (a > 0) NOT ENFORCED, b int CONSTRAINT loose_fk REFERENCES links (id) NOT ENFORCED);
COMMENT ON CONSTRAINT loose ON not_enforced IS 'not enforced';
INSERT INTO not_enforced VALUES (-1, -1);
INSERT INTO named (a, b, c, d) VALUES (1, 2, 3, 4);
CREATE PUBLICATION with_generated FOR TABLE base WITH (publish_generated_columns = stored);
CREATE UNIQUE INDEX key_of_base ON base (other);
CREATE FUNCTION returns_old(i int) RETURNS int LANGUAGE sql BEGIN ATOMIC UPDATE parent SET a = i RETURNING old.a; END;

-- Large objects.
SELECT lo_from_bytea(71001, '\x00ff0a5c');
ALTER LARGE OBJECT 71001 OWNER TO kind_owner;
GRANT SELECT ON LARGE OBJECT 71001 TO kind_user;
COMMENT ON LARGE OBJECT 71001 IS 'a large object';

-- with ICU
CREATE COLLATION numbers (provider = icu, locale = 'en-u-kn-true', deterministic = false);
CREATE TABLE numbered (a text COLLATE numbers UNIQUE, b text CHECK (b < 'x' COLLATE numbers));

-- with ICU since 16
CREATE COLLATION with_rules (provider = icu, locale = 'und', rules = '&a < g');

-- Names that hurt.
CREATE SCHEMA "s ""x"" 'y'
\z";
CREATE TABLE "s ""x"" 'y'
\z"."t ""a"" 'b'
\c 🚀" ("select" int PRIMARY KEY, "col ""a"" 'b'
\c 🚀" text DEFAULT 'd ''e''
\f' CONSTRAINT "ck ""a"" 'b'
\c" CHECK ("col ""a"" 'b'
\c 🚀" <> 'x' || E'\n\\'), "コラム" serial);
CREATE TABLE "s ""x"" 'y'
\z"."a table's name of sixty-three bytes, which is as long as one is" ("$1" int REFERENCES "s ""x"" 'y'
\z"."t ""a"" 'b'
\c 🚀");
CREATE INDEX "ix ""a"" 'b'
\c" ON "s ""x"" 'y'
\z"."t ""a"" 'b'
\c 🚀" ("col ""a"" 'b'
\c 🚀");
CREATE VIEW "s ""x"" 'y'
\z"."v ""a"" 'b'" AS SELECT * FROM "s ""x"" 'y'
\z"."t ""a"" 'b'
\c 🚀";
CREATE FUNCTION "s ""x"" 'y'
\z"."f ""a"" 'b'
\c"("p ""q""" int DEFAULT 7) RETURNS text LANGUAGE sql AS $q$ SELECT '$$', E'\\' ; SELECT 'x' -- the end
$q$;
CREATE TYPE "s ""x"" 'y'
\z"."e ""a"" 'b'" AS ENUM ('l ''a'' "b"', 'new
line', '\');
CREATE TRIGGER "tg ""a"" 'b'" BEFORE INSERT ON "s ""x"" 'y'
\z"."t ""a"" 'b'
\c 🚀" FOR EACH ROW EXECUTE FUNCTION touch('it''s \', '
');
CREATE POLICY "po ""a"" 'b'" ON "s ""x"" 'y'
\z"."t ""a"" 'b'
\c 🚀" USING ("select" > 0);
CREATE SEQUENCE "s ""x"" 'y'
\z"."sq ""a"" 'b'";
CREATE DOMAIN "s ""x"" 'y'
\z"."d ""a"" 'b'" AS text CONSTRAINT "dc ""a"" 'b'" CHECK (VALUE <> 'it''s');
COMMENT ON TABLE "s ""x"" 'y'
\z"."t ""a"" 'b'
\c 🚀" IS 'comment; DROP TABLE x; --
\! echo "';
COMMENT ON COLUMN "s ""x"" 'y'
\z"."t ""a"" 'b'
\c 🚀"."col ""a"" 'b'
\c 🚀" IS E'\\ \' "';
GRANT SELECT ("select"), INSERT ON "s ""x"" 'y'
\z"."t ""a"" 'b'
\c 🚀" TO "kind ""role""";
ALTER SCHEMA "s ""x"" 'y'
\z" OWNER TO "kind ""role""";
INSERT INTO "s ""x"" 'y'
\z"."t ""a"" 'b'
\c 🚀" VALUES (1, E'a\tb\\', 5);

-- Privileges on what the server brought, and privileges to come.
REVOKE EXECUTE ON FUNCTION pg_catalog.pg_sleep(float8) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text) TO kind_user;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text) TO "kind ""role""";
GRANT SELECT ON pg_catalog.pg_authid TO kind_user;
GRANT SELECT (usename) ON pg_catalog.pg_shadow TO kind_user;
REVOKE SELECT ON pg_catalog.pg_settings FROM PUBLIC;
REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC;
REVOKE USAGE ON TYPE pg_catalog.xml FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE kind_owner IN SCHEMA app GRANT SELECT ON TABLES TO kind_user;
ALTER DEFAULT PRIVILEGES FOR ROLE kind_owner IN SCHEMA app GRANT EXECUTE ON FUNCTIONS TO kind_user;
ALTER DEFAULT PRIVILEGES FOR ROLE kind_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE kind_owner REVOKE USAGE ON TYPES FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE kind_owner REVOKE DELETE, TRUNCATE ON TABLES FROM kind_owner;
ALTER DEFAULT PRIVILEGES FOR ROLE kind_owner GRANT USAGE ON SEQUENCES TO "kind ""role""" WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES FOR ROLE "kind ""role""" GRANT CREATE ON SCHEMAS TO kind_user;
