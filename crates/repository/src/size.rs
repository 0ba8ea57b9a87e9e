//! Sizes and rates in human notation.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A number of bytes, parsed from `12`, `500MB`, `2.5GiB` or `64k`. Units of 1024 are written with an `i` or as one
/// letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<ByteSize, String> {
        let wrong =
            || format!("`{text}` is not a size: expected a number and a unit, such as 500MB or 2.5GiB");
        let digits = text.trim().trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim_end();
        let unit = text.trim().get(digits.len()..).unwrap_or_default().trim();
        let number: f64 = digits.parse().map_err(|_| wrong())?;
        let factor: f64 = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "kb" => 1e3,
            "mb" => 1e6,
            "gb" => 1e9,
            "tb" => 1e12,
            "kib" | "k" => 1024.0,
            "mib" | "m" => 1024.0 * 1024.0,
            "gib" | "g" => 1024.0 * 1024.0 * 1024.0,
            "tib" | "t" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
            _ => return Err(wrong()),
        };
        if !number.is_finite() || number <= 0.0 {
            return Err(wrong());
        }
        Ok(ByteSize((number * factor) as u64))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut size = self.0 as f64;
        for unit in ["B", "KiB", "MiB", "GiB"] {
            if size < 1024.0 {
                let digits = usize::from(unit != "B");
                return write!(f, "{size:.digits$} {unit}");
            }
            size /= 1024.0;
        }
        write!(f, "{size:.1} TiB")
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Bytes per second, parsed from `10MiB/s`; the `/s` is optional.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(pub NonZeroU64);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        let size = text.trim().strip_suffix("/s").unwrap_or(text);
        let bytes = size.parse::<ByteSize>().ok().and_then(|size| NonZeroU64::new(size.0));
        bytes.map(Rate).ok_or_else(|| {
            format!("`{text}` is not a rate: expected a number and a unit, such as 10MiB/s or 500kB/s")
        })
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Rate, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_rates_read_as_they_are_written() {
        let rate = |text: &str| text.parse::<Rate>().map(|rate| rate.0.get());
        assert_eq!(rate("10MiB/s"), Ok(10 << 20));
        assert_eq!(rate(" 500 kB/s "), Ok(500_000));
        assert_eq!(rate("64k"), Ok(64 << 10));
        for wrong in ["", "0", "-1MiB/s", "10Mbit/s", "fast", "10MiB/m", "NaN", "inf"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
        assert_eq!("2.5GiB".parse(), Ok(ByteSize(5 << 29)));
        assert_eq!(ByteSize(5 << 29).to_string(), "2.5 GiB");
        assert_eq!(
            (ByteSize(12).to_string(), ByteSize(1 << 41).to_string()),
            ("12 B".into(), "2.0 TiB".into())
        );
    }
}
