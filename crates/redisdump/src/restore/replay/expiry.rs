//! Where commands have expiries, and how another time is put in their place.

use std::borrow::Cow;

use super::translate::Words;

/// An expiry in a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expiring {
    /// The number as written.
    pub(super) number: i64,
    /// Milliseconds in one.
    pub(super) unit: i64,
    /// It is relative to the time at which the command runs.
    pub(super) relative: bool,
    /// Hash fields expire, not the key.
    pub(super) of_fields: bool,
    /// Position of the number.
    at: usize,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `EXPIRE key n [flags]` and its relatives.
    Expire,
    /// `SETEX key n value`.
    SetEx,
    /// `HEXPIRE key n [flag] FIELDS …`.
    Fields,
    /// `RESTORE key n payload …`.
    Restore,
    /// A word and a number among options.
    Option,
}

/// Finds the expiry that a command sets, if any. An invalid number is left to the server to refuse.
pub(super) fn find(name: &str, words: &Words<'_>) -> Option<Expiring> {
    let number = |at: usize| -> Option<i64> { std::str::from_utf8(words.get(at)?).ok()?.parse().ok() };
    let second = |unit: i64, relative: bool, form: Form, of_fields: bool| {
        Some(Expiring { number: number(2)?, unit, relative, of_fields, at: 2, form })
    };
    match name {
        "expire" => second(1000, true, Form::Expire, false),
        "pexpire" => second(1, true, Form::Expire, false),
        "expireat" => second(1000, false, Form::Expire, false),
        "pexpireat" => second(1, false, Form::Expire, false),
        "setex" => second(1000, true, Form::SetEx, false),
        "psetex" => second(1, true, Form::SetEx, false),
        "hexpire" => second(1000, true, Form::Fields, true),
        "hpexpire" => second(1, true, Form::Fields, true),
        "hexpireat" => second(1000, false, Form::Fields, true),
        "hpexpireat" => second(1, false, Form::Fields, true),
        "restore" | "restore-asking" => {
            let absolute = words.iter().skip(4).any(|word| word.eq_ignore_ascii_case(b"ABSTTL"));
            // A missing number is 0.
            second(1, !absolute, Form::Restore, false).filter(|found| found.number != 0)
        }
        "set" => option(words, 3, false),
        "getex" => option(words, 2, false),
        "msetex" => {
            let pairs = usize::try_from(number(1)?).ok()?;
            option(words, pairs.checked_mul(2)?.checked_add(2)?, false)
        }
        "hsetex" | "hgetex" => option(words, 2, true),
        _ => None,
    }
}

fn option(words: &Words<'_>, from: usize, of_fields: bool) -> Option<Expiring> {
    let mut options = words.iter().enumerate().skip(from);
    // After FIELDS come names and values, which may look like options.
    while let Some((at, word)) = options.next().filter(|(_, word)| !word.eq_ignore_ascii_case(b"FIELDS")) {
        let (unit, relative) = match word.to_ascii_uppercase().as_slice() {
            b"EX" => (1000, true),
            b"PX" => (1, true),
            b"EXAT" => (1000, false),
            b"PXAT" => (1, false),
            // The comparison value may look like an option, too.
            b"IFEQ" | b"IFNE" | b"IFDEQ" | b"IFDNE" => {
                options.next();
                continue;
            }
            _ => continue,
        };
        let number = std::str::from_utf8(words.get(at + 1)?).ok()?.parse().ok()?;
        return Some(Expiring { number, unit, relative, of_fields, at: at + 1, form: Form::Option });
    }
    None
}

/// Replaces an expiry by an absolute time in milliseconds. If the server does not support it in the same command, the
/// key and its time are returned; if nothing else remains to be done, no words remain.
pub(super) fn tell(
    name: &str,
    words: &mut Words<'_>,
    found: &Expiring,
    placeholder: i64,
    set_takes_expiry: bool,
) -> Option<(Vec<u8>, i64)> {
    let time = || Cow::Owned(placeholder.to_string().into_bytes());
    let key = words.get(1).map(|key| key.to_vec()).unwrap_or_default();
    let mut put = |at: usize, word: Cow<'static, [u8]>| {
        if let Some(place) = words.get_mut(at) {
            *place = word;
        }
    };
    match found.form {
        Form::Expire => {
            put(0, Cow::Borrowed(b"PEXPIREAT"));
            put(2, time());
            // NX, XX, GT, LT: a command without effect is not in the file; and with placeholders they would compare the
            // wrong times.
            words.truncate(3);
            None
        }
        Form::Fields => {
            put(0, Cow::Borrowed(b"HPEXPIREAT"));
            put(2, time());
            // Likewise: only the fields that it affected are in the file.
            while words.get(3).is_some_and(|word| !word.eq_ignore_ascii_case(b"FIELDS")) {
                words.remove(3);
            }
            None
        }
        Form::Restore if !set_takes_expiry => {
            // Before 5.0 there is no ABSTTL.
            put(2, Cow::Borrowed(b"0"));
            words.retain(|word| !word.eq_ignore_ascii_case(b"ABSTTL"));
            Some((key, placeholder))
        }
        Form::Restore => {
            put(2, time());
            if found.relative {
                words.push(Cow::Borrowed(b"ABSTTL"));
            }
            None
        }
        Form::SetEx => {
            let value = words.get(3).cloned().unwrap_or_default();
            words.clear();
            words.extend([Cow::Borrowed(b"SET".as_slice()), Cow::Owned(key.clone()), value]);
            if set_takes_expiry {
                words.extend([Cow::Borrowed(b"PXAT".as_slice()), time()]);
                return None;
            }
            Some((key, placeholder))
        }
        Form::Option if name == "getex" => {
            words.clear();
            Some((key, placeholder))
        }
        Form::Option if name == "set" && !set_takes_expiry => {
            words.drain(found.at - 1..=found.at);
            Some((key, placeholder))
        }
        Form::Option => {
            put(found.at - 1, Cow::Borrowed(b"PXAT"));
            put(found.at, time());
            None
        }
    }
}
