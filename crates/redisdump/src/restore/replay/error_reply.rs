//! What an error reply to a replayed command means: either the server that wrote the file received it as well when it
//! loaded the file, and ignored it (`loadSingleAppendOnlyFile` in `aof.c` does not look at replies), or it is specific
//! to the target.
//!
//! Servers write commands that fail when replayed: 5.0 rewrites an empty stream to an `XADD` with the id 0-0, which no
//! server accepts.

/// Error codes of a state of the target, or of a missing permission: the command itself is valid.
const STATES: &[&str] = &[
    "ASK",
    "BUSY",
    "CLUSTERDOWN",
    "CROSSSLOT",
    "DENIED",
    "EXECABORT",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "MOVED",
    "NOAUTH",
    "NOPERM",
    "NOREPLICAS",
    "OOM",
    "READONLY",
    "TRYAGAIN",
    "UNKILLABLE",
    "WRONGPASS",
];

/// Messages of a server that does not understand a command: a server only logs commands that it understood.
const NOT_UNDERSTOOD: &[&str] = &[
    "bad data format",
    "db index is out of range",
    "invalid db index",
    "payload version or checksum",
    "protocol error",
    "syntax error",
    "unknown command",
    "unknown subcommand",
    "wrong number of arguments",
];

/// True when the target's state, rights or version stand behind an error reply, so that the effect of the command would
/// be lost; false when the command fails at any server that has the same keys.
pub(super) fn is_of_target(message: &str) -> bool {
    let code = message.split(' ').next().unwrap_or_default();
    let lower = message.to_lowercase();
    STATES.contains(&code) || NOT_UNDERSTOOD.iter().any(|words| lower.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_at_any_server_and_what_is_the_targets_own() {
        for message in [
            "ERR The ID specified in XADD must be greater than 0-0",
            "ERR no such key",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            "ERR value is not an integer or out of range",
            "BUSYGROUP Consumer Group name already exists",
            "BUSYKEY Target key name already exists.",
            "NOSCRIPT No matching script. Please use EVAL.",
        ] {
            assert!(!is_of_target(message), "{message}");
        }
        for message in [
            "OOM command not allowed when used memory > 'maxmemory'.",
            "NOPERM this user has no permissions to run the 'set' command",
            "READONLY You can't write against a read only replica.",
            "BUSY Redis is busy running a script.",
            "ERR DUMP payload version or checksum are wrong",
            "ERR syntax error",
            "ERR Unknown subcommand or wrong number of arguments for 'x'. Try XGROUP HELP.",
            "ERR DB index is out of range",
        ] {
            assert!(is_of_target(message), "{message}");
        }
    }
}
