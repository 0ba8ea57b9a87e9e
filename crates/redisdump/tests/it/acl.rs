//! Users and configuration: read from one server, recreated on another.
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use crate::support::{Client, options, start};
use redisdump::{ConnectOptions, Environment, apply_access, read_access};
use sandbox::testing::require_redis;
use sandbox::{Redis, RedisOptions};

fn server(version: &str) -> Option<Redis> {
    Some(start(&require_redis(version)?, RedisOptions::default()))
}

#[tokio::test]
async fn users_are_recreated_and_settings_are_only_reported() {
    let (Some(source), Some(target)) = (server("7.0"), server("8.2")) else { return };
    let mut client = Client::new(&source);
    client.ask("ACL SETUSER bot on >correct-horse ~bot:* -@all +get +set");
    client.ask("ACL SETUSER gone off nopass ~* &* +@all");
    client.ask("CONFIG SET masterauth very-secret");
    client.ask("CONFIG SET maxmemory 123456789");
    let access = read_access(&options(&source)).await.unwrap();
    let stored = serde_json::to_string(&access).unwrap();
    assert!(!stored.contains("very-secret") && !stored.contains("correct-horse"), "{stored}");
    let hash = "75d16f0f6e6d2d7f";
    assert!(!format!("{access:?}").contains('#') && !format!("{access:?}").contains(hash));
    assert!(access.secret_settings.contains(&"masterauth".to_owned()), "{:?}", access.secret_settings);

    let report = apply_access(&access, &options(&target)).await.unwrap();
    assert_eq!(report.users, ["bot", "gone", "default"]);
    assert!(report.other_settings.iter().any(|(name, was, now)| {
        (name.as_str(), was.as_str(), now.as_str()) == ("maxmemory", "123456789", "0")
    }));
    let found = read_access(&options(&target)).await.unwrap();
    let rules = |access: &redisdump::Access, name: &str| {
        access.users.as_ref().unwrap().iter().find(|user| user.name == name).unwrap().rules.clone()
    };
    // Some versions list what others leave unsaid.
    let said = |access| -> Vec<String> {
        rules(access, "bot").into_iter().filter(|rule| rule != "sanitize-payload").collect()
    };
    assert_eq!(said(&access), said(&found));
    assert_eq!(found.users.as_ref().unwrap().len(), 3);
    assert_eq!(Client::new(&target).ask("CONFIG GET maxmemory"), "maxmemory 0");
    let bot = ConnectOptions::parse(&target.url_as("bot", "correct-horse"), &Environment::default()).unwrap();
    let refused = read_access(&bot).await.unwrap_err().to_string();
    assert!(refused.to_lowercase().contains("perm"), "{refused}");
}

#[tokio::test]
async fn no_user_is_locked_out_and_unknown_rules_change_nothing() {
    let (Some(source), Some(target)) = (server("7.0"), server("7.0")) else { return };
    let mut client = Client::new(&source);
    client.ask("ACL SETUSER default resetpass >other");
    client.ask("AUTH other");
    let with = ConnectOptions::parse(&source.url_as("", "other"), &Environment::default()).unwrap();
    let access = read_access(&with).await.unwrap();
    let report = apply_access(&access, &options(&target)).await.unwrap();
    assert!(report.left[0].contains("has a different password"), "{:?}", report.left);
    assert_eq!(Client::new(&target).ask("PING"), "PONG");

    // The rule of a newer server.
    let mut newer = access.clone();
    newer.users.as_mut().unwrap().insert(
        0,
        redisdump::User { name: "late".to_owned(), rules: vec!["on".to_owned(), "+@ofthefuture".to_owned()] },
    );
    let error = apply_access(&newer, &options(&target)).await.unwrap_err();
    assert!(error.is_refused() && error.to_string().contains("+@ofthefuture"), "{error}");
    assert_eq!(Client::new(&target).ask("ACL USERS"), "default");
    // Who may not bundle commands finds out the same.
    Client::new(&target).ask("ACL SETUSER poor on >pw ~* &* +@all -multi");
    let poor = ConnectOptions::parse(&target.url_as("poor", "pw"), &Environment::default()).unwrap();
    let error = redisdump::try_access(&newer, &poor).await.unwrap_err();
    assert!(error.is_refused() && error.to_string().contains("+@ofthefuture"), "{error}");
    redisdump::try_access(&access, &poor).await.unwrap();
    assert_eq!(Client::new(&target).ask("ACL USERS"), "default poor");

    let Some(old) = server("5.0") else { return };
    let none = read_access(&options(&old)).await.unwrap();
    assert!(
        none.users.is_none() && none.warnings[0].contains("ACLs require Redis 6.0"),
        "{:?}",
        none.warnings
    );
    let error = apply_access(&access, &options(&old)).await.unwrap_err().to_string();
    assert!(error.contains("ACLs require Redis 6.0"), "{error}");
}
