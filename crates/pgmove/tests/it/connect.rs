//! Ways to reach a server: TLS in every mode, sockets, password files, poolers.
#![allow(clippy::print_stderr, reason = "a skipped test must be seen")]

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use crate::common::{MAJORS, copy, database, options_as, run, server, server_with, session, value};
use pgmove::{ConnectOptions, Environment, Error, Session, Source, SourceOptions, Target, TargetOptions};
use sandbox::{Listen, Postgres, PostgresOptions, Tls};

async fn connect(text: &str) -> Result<Session, Error> {
    pgmove::connect(&ConnectOptions::parse(text, &Environment::default()).unwrap()).await
}

async fn encrypted(session: &Session) -> bool {
    value(session, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").await == "t"
}

/// Certificates made by openssl: two authorities, and a server certificate for `localhost` of the first.
struct Certificates {
    _folder: tempfile::TempDir,
    root: String,
    stranger: String,
    server: Tls,
}

fn certificates() -> Certificates {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let openssl = |line: &str| {
        let arguments = line.split_whitespace().map(str::to_owned);
        let made = Command::new("openssl").args(arguments).current_dir(folder.path()).output();
        let made = made
            .expect("openssl makes the test's certificates; ca-certificates brings it on Debian and Ubuntu");
        assert!(made.status.success(), "{line}\n{}", String::from_utf8_lossy(&made.stderr));
    };
    for name in ["root", "stranger"] {
        openssl(&format!(
            "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name} -keyout {name}.key -out {name}.pem"
        ));
    }
    std::fs::write(path("names"), "subjectAltName=DNS:localhost").unwrap();
    openssl("req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr");
    openssl(
        "x509 -req -in server.csr -CA root.pem -CAkey root.key -CAcreateserial -days 2 -extfile names -out server.pem",
    );
    let text = |name: &str| path(name).display().to_string();
    Certificates {
        root: text("root.pem"),
        stranger: text("stranger.pem"),
        server: Tls { certificate: path("server.pem"), key: path("server.key") },
        _folder: folder,
    }
}

/// Replaces the server's rules of who may connect.
async fn rules(server: &Postgres, admin: &Session, text: &str) {
    std::fs::write(server.data_dir().join("pg_hba.conf"), text).unwrap();
    run(admin, "SELECT pg_reload_conf()").await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_follows_libpq() {
    let made = certificates();
    let (root, stranger) = (&made.root, &made.stranger);
    let options = PostgresOptions {
        listen: Listen::Port,
        tls: Some(made.server.clone()),
        password: Some("pa ss".into()),
        ..PostgresOptions::default()
    };
    let Some(server) = server_with(MAJORS[0], options) else { return };
    let port = server.port().unwrap();
    let to = |rest: &str| format!("port={port} user=postgres dbname=postgres password='pa ss' {rest}");

    for (rest, expected) in [
        ("host=127.0.0.1 sslmode=disable".to_owned(), false),
        ("host=127.0.0.1 sslmode=allow".to_owned(), false),
        ("host=127.0.0.1".to_owned(), true),
        ("host=127.0.0.1 sslmode=require".to_owned(), true),
        (format!("host=127.0.0.1 sslmode=verify-ca sslrootcert={root}"), true),
        (format!("host=localhost sslmode=verify-full sslrootcert={root}"), true),
        (format!("host=localhost hostaddr=127.0.0.1 sslmode=verify-full sslrootcert={root}"), true),
        // The password proves itself over this very connection.
        ("host=127.0.0.1 sslmode=require channel_binding=require".to_owned(), true),
        (format!("host={}", server.socket_dir().display()), false),
    ] {
        let session = connect(&to(&rest)).await.unwrap_or_else(|error| panic!("{rest}: {error}"));
        assert_eq!(encrypted(&session).await, expected, "{rest}");
    }
    for (rest, words) in [
        (format!("host=127.0.0.1 sslmode=verify-full sslrootcert={root}"), "not valid for name"),
        (format!("host=localhost sslmode=verify-full sslrootcert={stranger}"), "invalid peer certificate"),
        (format!("host=localhost sslmode=verify-ca sslrootcert={stranger}"), "invalid peer certificate"),
        // libpq: with an authority named, `require` verifies it too.
        (format!("host=localhost sslmode=require sslrootcert={stranger}"), "invalid peer certificate"),
        (format!("host=localhost sslmode=verify-full sslrootcert={root}.gone"), "sslrootcert"),
        ("host=127.0.0.1 sslmode=disable channel_binding=require".to_owned(), "channel binding"),
    ] {
        let error = connect(&to(&rest)).await.expect_err(&rest);
        assert!(error.to_string().contains(words), "{rest}: {error}");
        assert!(!error.is_unreachable() || words == "channel binding", "{rest}: {error:?}");
        assert!(!format!("{error} {error:?}").contains("pa ss"));
    }

    // The server's requirement decides between the two modes that leave it open.
    let admin = session(&server, "postgres").await;
    rules(&server, &admin, "hostssl all all all scram-sha-256\nlocal all all trust\n").await;
    assert!(encrypted(&connect(&to("host=127.0.0.1 sslmode=allow")).await.unwrap()).await);
    rules(&server, &admin, "hostnossl all all all scram-sha-256\nlocal all all trust\n").await;
    assert!(!encrypted(&connect(&to("host=127.0.0.1 sslmode=prefer")).await.unwrap()).await);
    let error = connect(&to("host=127.0.0.1 sslmode=require")).await.unwrap_err();
    assert!(error.is_auth() && error.to_string().contains("pg_hba.conf"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_tls_is_reached_only_where_that_is_allowed() {
    let Some(server) = server(MAJORS[1]) else { return };
    let url = format!("{}?sslmode=", server.url("postgres"));
    assert!(!encrypted(&connect(&format!("{url}prefer")).await.unwrap()).await);
    let error = connect(&format!("{url}require")).await.unwrap_err();
    assert!(error.is_tls() && error.to_string().contains("server does not support TLS"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_pinned_against_the_settings_of_roles_and_databases() {
    for major in MAJORS {
        let Some(server) = server(major) else { continue };
        let own = "ALTER DATABASE a SET datestyle = 'German'; ALTER DATABASE a SET intervalstyle = 'sql_standard'; \
                   ALTER DATABASE a SET bytea_output = 'escape'; ALTER DATABASE a SET extra_float_digits = -15; \
                   ALTER ROLE postgres SET timezone = 'Asia/Seoul'; ALTER ROLE postgres SET statement_timeout = '1ms'; \
                   ALTER ROLE postgres SET search_path = 'public'; ALTER DATABASE a SET array_nulls = off; \
                   ALTER DATABASE a SET default_transaction_read_only = on;";
        let sql = "CREATE TABLE t (tz timestamptz, i interval, b bytea, f float8, a text[]); \
                   INSERT INTO t VALUES ('2026-11-23 00:00+09', '1 mon -1 day', '\\x00ff', 0.1, ARRAY[NULL, 'NULL'])";
        let from = database(&server, "a", sql).await;
        run(&session(&server, "a").await, own).await;
        let a = session(&server, "a").await;
        let text =
            value(&a, "SELECT tz || '|' || i || '|' || b::text || '|' || f || '|' || a::text FROM public.t")
                .await;
        assert_eq!(text, "2026-11-22 15:00:00+00|1 mon -1 days|\\x00ff|0.1|{NULL,\"NULL\"}");
        assert_eq!(
            value(&a, "SELECT current_setting('statement_timeout') || current_schemas(false)::text").await,
            "0{}"
        );
        let to = database(&server, "b", "ALTER DATABASE b SET array_nulls = off").await;
        copy(&from, &to, &SourceOptions::default()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_may_not_ask_for_the_identifier_still_connects() {
    let Some(server) = server(MAJORS[0]) else { return };
    run(
        &session(&server, "postgres").await,
        "CREATE ROLE plain LOGIN; REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC",
    )
    .await;
    let plain = connect(&server.url_as("plain", "postgres")).await.unwrap();
    assert_eq!((plain.server().system_identifier.clone(), plain.server().user.as_str()), (None, "plain"));
    let admin = session(&server, "postgres").await;
    assert!(admin.server().system_identifier.is_some());
    assert!(!admin.is_pooled());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poolers_are_known_and_only_those_that_share_sessions_are_refused() {
    let Some(pgbouncer) =
        ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].map(Path::new).into_iter().find(|p| p.exists())
    else {
        eprintln!("SKIPPED: there is no pgbouncer on this host");
        return;
    };
    for major in MAJORS {
        let options = PostgresOptions {
            listen: Listen::Port,
            password: Some(Pool::PASSWORD.to_owned()),
            ..PostgresOptions::default()
        };
        let Some(server) = server_with(major, options) else { continue };
        database(&server, "a", "CREATE TABLE t (id int); INSERT INTO t VALUES (1)").await;
        database(&server, "b", "").await;
        for ignored in ["", "ignore_startup_parameters = options\n"] {
            let pool = Pool::start(pgbouncer, &server, &format!("pool_mode = transaction\n{ignored}"));
            let error = Source::open(&pool.options("a"), &SourceOptions::default()).await.unwrap_err();
            assert!(error.is_refused() && error.to_string().contains("PgBouncer"), "{error}");
            assert!(error.to_string().contains("pool_mode = session"), "{error}");
            let error = Target::open(&pool.options("b"), &TargetOptions::default()).await.unwrap_err();
            assert!(error.is_refused(), "{error}");
        }
        let pool = Pool::start(pgbouncer, &server, "pool_mode = session\n");
        let source = Source::open(&pool.options("a"), &SourceOptions::default()).await.unwrap();
        assert!(source.warnings().iter().any(|found| matches!(found, pgmove::Warning::Pooler { .. })));
        drop(source);
        copy(&pool.options("a"), &pool.options("b"), &SourceOptions::default()).await.unwrap();
        run(&session(&server, "b").await, "DROP TABLE public.t").await;
    }
}

/// A PgBouncer of one's own before a server.
struct Pool {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Pool {
    const PASSWORD: &'static str = "of the pool";

    fn start(program: &Path, server: &Postgres, settings: &str) -> Pool {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let users: PathBuf = folder.path().join("users.txt");
        std::fs::write(&users, format!("\"postgres\" \"{}\"\n", Pool::PASSWORD)).unwrap();
        std::fs::set_permissions(&users, std::fs::Permissions::from_mode(0o600)).unwrap();
        let file = folder.path().join("pgbouncer.ini");
        let mut text = std::fs::File::create(&file).unwrap();
        write!(
            text,
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\n{settings}",
            server.port().unwrap(),
            users.display()
        )
        .unwrap();
        let mut command = Command::new(program);
        command.arg("-q").arg(&file);
        // It does not run as root.
        if value_of_id() == "0" {
            command.uid(65_534).gid(65_534);
            std::os::unix::fs::chown(&users, Some(65_534), Some(65_534)).unwrap();
        }
        let process = command.spawn().unwrap();
        let begun = std::time::Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed().as_secs() < 10, "pgbouncer does not listen");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Pool { process, port, _folder: folder }
    }

    fn options(&self, database: &str) -> ConnectOptions {
        let url = format!("postgres://postgres@127.0.0.1:{}/{database}?sslmode=disable", self.port);
        ConnectOptions::parse(&url, &Environment::default()).unwrap().with_password(Pool::PASSWORD)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn value_of_id() -> String {
    String::from_utf8(Command::new("id").arg("-u").output().unwrap().stdout).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_servers_state_is_recorded_and_optional() {
    for major in MAJORS {
        let Some(server) = server(major) else { continue };
        let sql = "CREATE TABLE t (a int); GRANT SELECT ON t TO PUBLIC; CREATE ROLE reader LOGIN; \
                   ALTER DATABASE a SET timezone = 'Asia/Seoul'; \
                   REVOKE EXECUTE ON FUNCTION pg_catalog.pg_current_wal_lsn() FROM PUBLIC";
        let options = database(&server, "a", sql).await;
        let source = Source::open(&options, &SourceOptions::default()).await.unwrap();
        let state = source.state().clone();
        let position = state.wal_position.as_deref().unwrap();
        let question = format!("SELECT '{position}'::pg_lsn <= pg_current_wal_lsn()");
        assert_eq!(value(&session(&server, "a").await, &question).await, "t");
        let setting = |name: &str| state.settings.get(name).map(String::as_str);
        assert_eq!(setting("TimeZone"), Some("Asia/Seoul"), "{state:?}");
        assert_eq!(setting("server_encoding"), Some("UTF8"));
        assert!(setting("lc_collate").is_some() && setting("data_checksums").is_some());
        source.finish().await.unwrap();

        let reader = options_as(&server, "reader", "a");
        let source = Source::open(&reader, &SourceOptions::default()).await.unwrap();
        assert_eq!(source.state().wal_position, None);
        assert!(!source.state().settings.is_empty() && source.slices().len() == 1);
        source.finish().await.unwrap();
    }
}
