//! Two servers with separate logins, and users with limited permissions. Reported as "REDISCLI_AUTH goes to both
//! servers", "the proof fails with NOPERM, and says nothing of the keys that were copied".
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use std::path::Path;

use crate::common::{Run, ask, command, folder, quick_redis, redis, run};
use sandbox::testing::require_redis;
use sandbox::{Listen, Redis, RedisOptions};

fn with_password(password: Option<&str>) -> Option<Redis> {
    let binaries = require_redis("7.0")?;
    let options = match password {
        Some(password) => {
            RedisOptions { listen: Listen::Port, password: Some(password.to_owned()), ..quick_redis() }
        }
        // On a port there always is one.
        None => quick_redis(),
    };
    Some(Redis::start(&binaries, options).unwrap())
}

/// A URL without a password.
fn bare(server: &Redis) -> String {
    as_user(server, "")
}

fn as_user(server: &Redis, user: &str) -> String {
    let user = if user.is_empty() { String::new() } else { format!("{user}@") };
    match server.port() {
        Some(port) => format!("redis://{user}127.0.0.1:{port}"),
        None => format!("redis+unix://{user}{}", server.socket().display()),
    }
}

fn with(here: &Path, args: &[&str], variables: &[(&str, &str)]) -> Run {
    let mut command = command(here, args);
    command.envs(variables.iter().copied());
    run(command)
}

async fn fill(url: &str) {
    let mut pipe = ::redis::pipe();
    for n in 0..50 {
        pipe.cmd("SET").arg(format!("key:{n}")).arg(n).arg("EX").arg(7200);
    }
    pipe.exec_async(&mut redis(url).await).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_side_has_a_password_of_its_own() {
    let (Some(one), Some(other), Some(open)) =
        (with_password(Some("left pw")), with_password(Some("right pw")), with_password(None))
    else {
        return;
    };
    fill(&one.url()).await;
    let here = folder();
    let (from, to, without) = (bare(&one), bare(&other), bare(&open));
    for (file, text) in [("one", "left pw\n"), ("other", "right pw\nsecond line\n"), ("empty", "\n")] {
        std::fs::write(here.path().join(file), text).unwrap();
    }
    let config = format!(
        "[[source]]\nname = \"old\"\nkind = \"redis\"\nurl = \"{from}\"\npassword-file = \"one\"\n\
         [[source]]\nname = \"new\"\nkind = \"redis\"\nurl = \"{to}\"\npassword-file = \"other\"\n"
    );
    std::fs::write(here.path().join("dbhaul.toml"), config).unwrap();
    let migrate = ["migrate", "--from", &from, "--to", &to];
    let compare = ["compare", &from, &to];
    let auth = ("REDISCLI_AUTH", "left pw");
    // One password for both is wrong for one of them.
    with(here.path(), &migrate, &[auth]).exits(1).says("WRONGPASS");

    let files = ["--from-password-file", "one", "--to-password-file", "other"];
    with(here.path(), &[&migrate[..], &files].concat(), &[]).exits(0).shows("50 equal");
    let files = ["--left-password-file", "one", "--right-password-file", "other"];
    with(here.path(), &[&compare[..], &files].concat(), &[]).exits(0).shows("50 equal");
    // A file beside the common variable, which is left to the other side; and a variable for each.
    with(here.path(), &[&compare[..], &["--to-password-file", "other"]].concat(), &[auth]).exits(0);
    with(here.path(), &compare, &[auth, ("DBHAUL_TO_PASSWORD", "right pw")]).exits(0);
    with(here.path(), &compare, &[("DBHAUL_FROM_PASSWORD", "left pw"), ("DBHAUL_TO_PASSWORD", "right pw")])
        .exits(0);
    // By name, and mixed with a URL.
    with(here.path(), &["compare", "old", "new"], &[]).exits(0).shows("50 equal");
    with(here.path(), &["compare", "old", &to], &[("DBHAUL_TO_PASSWORD", "right pw")]).exits(0);
    let flush = other.address();
    with(here.path(), &["migrate", "--from", "old", "--to", "new", "--flush", &flush], &[]).exits(0);

    // A server without a password takes one that is meant for the other.
    with(here.path(), &["migrate", "--from", &from, "--to", &without], &[auth]).exits(0).shows("50 equal");
    let wrong = ["--to-password-file", "empty"];
    with(here.path(), &[&compare[..], &wrong].concat(), &[auth]).exits(2).says("is empty");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_servers_without_a_password_take_one() {
    for version in ["3.0", "5.0", "valkey-9"] {
        let Some(binaries) = require_redis(version) else { continue };
        let server = Redis::start(&binaries, RedisOptions::default()).unwrap();
        let here = folder();
        with(here.path(), &["compare", &server.url(), &server.url()], &[("REDISCLI_AUTH", "any")]).exits(0);
    }
}

/// A target whose user may fill it, and not read it back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_verified_is_reported_with_its_requirements() {
    let (Some(source), Some(target)) = (with_password(None), with_password(None)) else { return };
    fill(&source.url()).await;
    let here = folder();
    let url = as_user(&target, "writer");
    let args = ["migrate", "--from", &bare(&source), "--to", &url];
    let rules = |forbidden: &[&str]| {
        let mut rules = vec!["ACL", "SETUSER", "writer", "reset", "on", ">pw", "~*", "&*", "+@all"];
        rules.extend(forbidden);
        rules.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let pw = [("DBHAUL_TO_PASSWORD", "pw")];
    for (forbidden, possible) in [
        (vec!["-dump", "-mget"], false),
        (vec!["-scan"], false),
        // All of them are strings, which either of the two reads.
        (vec!["-dump"], true),
        (vec!["-mget"], true),
        // The time left tells the same, and there are keys in database 0 only.
        (vec!["-pexpiretime"], true),
        (vec!["-select"], true),
        (vec!["-info", "-config"], true),
        (vec!["-pexpiretime", "-pttl"], false),
    ] {
        let rules = rules(&forbidden);
        let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
        ask(&target.url(), &rules).await.unwrap();
        ask(&target.url(), &["FLUSHALL"]).await.unwrap();
        let ran = with(here.path(), &args, &pw);
        let said = format!("{forbidden:?}: {}\n{}", ran.stdout, ran.stderr);
        if possible {
            assert!(ran.code == 0 && ran.stdout.contains("50 equal"), "{said}");
            continue;
        }
        assert_eq!(ran.code, 1, "{said}");
        for part in ["all 50 keys were copied", "NOPERM", "ACL SETUSER writer", "+dump", "--no-proof"] {
            assert!(ran.stderr.contains(part), "{part}: {said}");
        }
        assert_eq!(ask(&target.url(), &["DBSIZE"]).await.unwrap(), ["50"], "{said}");
        ask(&target.url(), &["FLUSHALL"]).await.unwrap();
        let ran = with(here.path(), &[&args[..], &["--no-proof"]].concat(), &pw).exits(0);
        assert!(ran.stdout.contains("not verified"), "{}", ran.stdout);
    }
}

/// A source whose user may replicate, or read keys, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_without_info_can_be_captured() {
    let (Some(source), Some(target)) = (with_password(None), with_password(None)) else { return };
    fill(&source.url()).await;
    let here = folder();
    with(here.path(), &["init", "--repository", "repo"], &[]).exits(0);
    for rules in [
        &["+psync", "+replconf"][..],
        &["+scan", "+dump", "+pttl", "+time", "+dbsize", "+select"],
        &["+scan", "+dump", "+pexpiretime", "+dbsize", "+select"],
    ] {
        let user = [&["ACL", "SETUSER", "reader", "reset", "on", ">pw", "~*"][..], rules].concat();
        ask(&source.url(), &user).await.unwrap();
        let url = as_user(&source, "reader");
        let auth = [("REDISCLI_AUTH", "pw")];
        with(here.path(), &["backup", "--repository", "repo", "--redis", &url], &auth).exits(0);
        with(here.path(), &["compare", "latest", &source.url(), "--repository", "repo"], &[]).exits(0);
        ask(&target.url(), &["FLUSHALL"]).await.unwrap();
        let to = bare(&target);
        with(here.path(), &["migrate", "--from", &url, "--to", &to], &auth).exits(0).shows("50 equal");
    }
}
