//! Writes commands in RESP; fast, because a large key space needs hundreds of millions.

/// Appends a command.
pub(crate) fn command(out: &mut Vec<u8>, arguments: &[&[u8]]) {
    array(out, arguments.len() as u64);
    for argument in arguments {
        bulk(out, argument);
    }
}

/// Appends the header of an array with this number of elements.
pub(crate) fn array(out: &mut Vec<u8>, elements: u64) {
    out.push(b'*');
    decimal(out, elements);
    out.extend_from_slice(b"\r\n");
}

/// Appends a bulk string.
#[inline]
pub(crate) fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    bulk_head(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Appends the header of a bulk string: this number of bytes follows, then a line end.
pub(crate) fn bulk_head(out: &mut Vec<u8>, length: u64) {
    out.push(b'$');
    decimal(out, length);
    out.extend_from_slice(b"\r\n");
}

/// Appends a number.
#[inline]
fn decimal(out: &mut Vec<u8>, n: u64) {
    let mut digits = [0; 20];
    out.extend_from_slice(text_of(&mut digits, n));
}

/// A decimal number, without allocation.
#[inline]
pub(crate) fn text_of(digits: &mut [u8; 20], mut n: u64) -> &[u8] {
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(n % 10).unwrap_or_default();
        n /= 10;
        used += 1;
        if n == 0 {
            break;
        }
    }
    digits.get(20 - used..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_its_arguments_by_length() {
        let mut out = Vec::new();
        command(&mut out, &[b"SET", b"", b"\r\n"]);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$2\r\n\r\n\r\n");
    }

    #[test]
    fn numbers_are_written_as_anybody_writes_them() {
        for n in [0, 9, 10, 4_102_444_800_123, u64::MAX] {
            assert_eq!(text_of(&mut [0; 20], n), n.to_string().as_bytes());
        }
    }
}
