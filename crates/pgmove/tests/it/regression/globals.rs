//! Roles and other objects of a whole server are copied as by `pg_dumpall`.

use crate::common;
use common::{options, run, server, session, value};
use pgmove::globals::{apply_globals, read_globals};

const MEMBERSHIPS: &str = "SELECT string_agg(m.roleid::regrole || ' ' || m.member::regrole || ' ' || m.grantor::regrole || ' ' \
    || m.admin_option || m.inherit_option || m.set_option, E'\\n' ORDER BY m.roleid::regrole::text, m.member::regrole::text, m.grantor::regrole::text) \
    FROM pg_auth_members m WHERE m.member >= 16384";

const SETTINGS: &str = "SELECT string_agg(setdatabase || ' ' || coalesce(r.rolname, 'all') || ' ' || array_to_string(setconfig, ','), ' ' ORDER BY r.rolname) \
    FROM pg_db_role_setting LEFT JOIN pg_roles r ON r.oid = setrole WHERE setdatabase = 0";

const PARAMETERS: &str =
    "SELECT string_agg(parname || ' ' || paracl::text, ' ' ORDER BY parname) FROM pg_parameter_acl";

const ROLES: &str = "
CREATE ROLE team; CREATE ROLE lead NOINHERIT; CREATE ROLE worker; CREATE ROLE second;
GRANT pg_monitor TO team; ALTER ROLE worker SET work_mem = '8MB';
GRANT SET ON PARAMETER log_min_duration_statement TO worker WITH GRANT OPTION;
GRANT SET, ALTER SYSTEM ON PARAMETER work_mem TO lead, PUBLIC;
SET ROLE worker; GRANT SET ON PARAMETER log_min_duration_statement TO second; RESET ROLE;
ALTER ROLE ALL SET lock_timeout = '77s'; ALTER ROLE ALL SET app.place = 'it''s here';
";

/// One membership by two grantors, of which only one lets the member inherit; a chain of grantors.
const GRANTORS: &str = "
GRANT team TO lead WITH ADMIN TRUE, INHERIT FALSE, SET FALSE; GRANT team TO second WITH ADMIN OPTION GRANTED BY lead;
GRANT team TO worker WITH INHERIT FALSE; GRANT team TO worker WITH INHERIT TRUE, SET FALSE GRANTED BY lead;
GRANT team TO worker WITH INHERIT FALSE, SET FALSE GRANTED BY second;
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_grantor_parameter_and_setting_is_restored() {
    let (Some(from), Some(to), Some(old)) = (server(18), server(18), server(15)) else { return };
    let source = session(&from, "postgres").await;
    for sql in [ROLES, GRANTORS] {
        run(&source, sql).await;
    }
    let globals = read_globals(&options(&from, "postgres"), false).await.unwrap();
    let report = apply_globals(&options(&to, "postgres"), &globals).await.unwrap();
    assert!(report.left_out.is_empty(), "{report:?}");
    let target = session(&to, "postgres").await;
    for query in [MEMBERSHIPS, SETTINGS, PARAMETERS] {
        assert_eq!(value(&target, query).await, value(&source, query).await);
    }
    assert_eq!(
        value(&target, "SELECT count(*) FROM pg_auth_members WHERE member = 'worker'::regrole").await,
        "3"
    );

    // Nothing is done twice, and existing objects stay.
    run(&target, "ALTER ROLE ALL SET lock_timeout = '5s'").await;
    let again = apply_globals(&options(&to, "postgres"), &globals).await.unwrap();
    assert_eq!(again.ran, 0);
    assert!(again.there.contains(&"setting lock_timeout of all roles".to_owned()), "{again:?}");

    // An older server knows one membership and no grantors.
    let report = apply_globals(&options(&old, "postgres"), &globals).await.unwrap();
    assert!(report.left_out.is_empty(), "{report:?}");
    let older = session(&old, "postgres").await;
    assert_eq!(value(&older, PARAMETERS).await, value(&source, PARAMETERS).await);
    let members = "SELECT string_agg(member::regrole || ' ' || admin_option, ' ' ORDER BY member::regrole::text) \
                   FROM pg_auth_members WHERE roleid = 'team'::regrole";
    assert_eq!(value(&older, members).await, "lead true second true worker false");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_does_not_know_is_named() {
    let (Some(new), Some(old)) = (server(18), server(12)) else { return };
    run(&session(&new, "postgres").await, ROLES).await;
    run(&session(&new, "postgres").await, "GRANT pg_maintain TO worker").await;
    let globals = read_globals(&options(&new, "postgres"), false).await.unwrap();
    let report = apply_globals(&options(&old, "postgres"), &globals).await.unwrap();
    let said = report.left_out.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(said.contains("membership of worker in pg_maintain"), "{said}");
    assert!(said.contains("privileges on parameter work_mem"), "{said}");
}
