//! Text in replies.

use redis::{FromRedisValue, ParsingError, Value};

/// Text from a server. Bytes that are not UTF-8, such as those of a path, are replaced; a `String` of the `redis` crate
/// refuses the whole reply instead.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Text(pub(crate) String);

impl FromRedisValue for Text {
    fn from_redis_value_ref(value: &Value) -> Result<Text, ParsingError> {
        Text::from_redis_value(value.clone())
    }

    fn from_redis_value(value: Value) -> Result<Text, ParsingError> {
        match value {
            Value::BulkString(bytes) => Ok(Text(String::from_utf8_lossy(&bytes).into_owned())),
            other => String::from_redis_value(other).map(Text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_another_encoding_does_not_fail_a_reply() {
        let value = Value::BulkString(b"/var/caf\xe9".to_vec());
        assert_eq!(Text::from_redis_value_ref(&value), Ok(Text("/var/caf\u{fffd}".to_owned())));
        assert!(Text::from_redis_value(Value::Nil).is_err());
    }
}
