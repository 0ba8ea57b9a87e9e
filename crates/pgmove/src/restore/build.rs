//! Capabilities of a server: PostgreSQL can be built without ICU and LZ4, and the role may not be a superuser.

use super::rights;
use crate::Error;
use crate::connect::Session;

/// Optional features of a build.
#[derive(Debug, Clone, Copy)]
pub(super) struct Build {
    /// ICU collations.
    pub(super) icu: bool,
    /// LZ4 for long values (never before 14).
    pub(super) lz4: bool,
    /// Whether the role is a superuser.
    pub(super) superuser: bool,
    /// Whether the role may act as the owner of the schema `public`, if there is one.
    pub(super) owns_public: bool,
}

impl Build {
    /// Queries the server. With ICU, initdb created ICU collations.
    pub(super) async fn of(session: &Session) -> Result<Build, Error> {
        let sql = "SELECT EXISTS (SELECT FROM pg_collation WHERE collname = 'und-x-icu'), \
                   EXISTS (SELECT FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)), \
                   coalesce((SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = 'public'), true)";
        let rows = session.query("what the server was built with", sql).await?;
        let has =
            |at: usize| rows.first().and_then(|row| row.get(at)).is_some_and(|v| v.as_deref() == Some("t"));
        Ok(Build {
            icu: has(0),
            lz4: has(1),
            superuser: rights::is_superuser(session).await?,
            owns_public: has(2),
        })
    }
}
