//! Whether a server accepts a payload, without writing it: RESTORE with a past expiry validates the payload and creates
//! no key.

use std::hash::{BuildHasher as _, RandomState};

use super::capabilities::own_tag;
use crate::client::connection::Connection;
use crate::client::wire::command;
use crate::rdb::dump;
use crate::{Error, ServerIdentity};

const OPERATION: &str = "testing whether it accepts a value (RESTORE with a past expiry)";

/// How the server is queried.
pub(super) struct DryRun {
    /// A name that no key has; `None` if the server would create the key and let it expire.
    name: Option<String>,
}

impl DryRun {
    /// For an identified server.
    pub(super) async fn of(connection: &mut Connection, server: &ServerIdentity) -> Result<DryRun, Error> {
        if !server.at_least(6, 2) {
            return Ok(DryRun { name: None });
        }
        let mut name = format!("dbhaul:no-such-key:{:016x}", RandomState::new().hash_one(0_u8));
        if server.cluster
            && let Some(tag) = own_tag(connection).await?
        {
            name.push_str(&format!(":{{{tag}}}"));
        }
        Ok(DryRun { name: Some(name) })
    }

    /// The server's error message if it refuses a payload; `None` if it accepts it or gives no answer.
    pub(super) async fn refuses(
        &self,
        connection: &mut Connection,
        payload: &[u8],
    ) -> Result<Option<String>, Error> {
        let Some(name) = &self.name else { return Ok(None) };
        let mut out = Vec::new();
        command(&mut out, &[b"RESTORE", name.as_bytes(), b"1", payload, b"ABSTTL"]);
        let Connection { reader, writer } = connection;
        let ((), reply) = futures::try_join!(writer.send(&out, OPERATION), reader.reply(OPERATION))?;
        Ok(match reply {
            Err(words) if words.to_lowercase().contains("bad data format") => Some(words),
            _ => None,
        })
    }
}

/// A set of two unordered numbers, which only a validating server refuses.
pub(super) fn unordered() -> Vec<u8> {
    let mut payload = b"\x0b\x0c\x02\0\0\0\x02\0\0\0\x05\0\x04\0".to_vec();
    dump::seal(&mut payload, 0, 6);
    payload
}
