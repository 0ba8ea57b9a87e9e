//! Time zones by name, with a suggestion for unknown names.

use chrono_tz::Tz;

/// Common abbreviations that the IANA database lacks, or gives another meaning.
const ABBREVIATIONS: [(&str, &str); 22] = [
    ("KST", "Asia/Seoul"),
    ("JST", "Asia/Tokyo"),
    ("IST", "Asia/Kolkata"),
    ("SGT", "Asia/Singapore"),
    ("HKT", "Asia/Hong_Kong"),
    ("ICT", "Asia/Bangkok"),
    ("WIB", "Asia/Jakarta"),
    ("PHT", "Asia/Manila"),
    ("AEST", "Australia/Sydney"),
    ("AEDT", "Australia/Sydney"),
    ("AWST", "Australia/Perth"),
    ("NZST", "Pacific/Auckland"),
    ("NZDT", "Pacific/Auckland"),
    ("BST", "Europe/London"),
    ("CEST", "Europe/Berlin"),
    ("EEST", "Europe/Helsinki"),
    ("MSK", "Europe/Moscow"),
    ("EDT", "America/New_York"),
    ("CDT", "America/Chicago"),
    ("MDT", "America/Denver"),
    ("PDT", "America/Los_Angeles"),
    ("PST", "America/Los_Angeles"),
];

/// Parses the name of a zone.
pub(crate) fn parse_zone(text: &str) -> Result<Tz, String> {
    text.parse().map_err(|_| match nearest_zone(text) {
        Some(zone) => format!("unknown time zone; did you mean `{zone}`?"),
        None => "unknown time zone; use a name such as `Asia/Seoul` or `UTC`".to_owned(),
    })
}

/// The zone that was probably meant.
pub(crate) fn nearest_zone(text: &str) -> Option<&'static str> {
    let wanted = text.trim().replace(' ', "_");
    if wanted.is_empty() {
        return None;
    }
    let known = ABBREVIATIONS.iter().find(|(short, _)| short.eq_ignore_ascii_case(&wanted));
    if let Some((_, zone)) = known {
        return Some(zone);
    }
    let names = || chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
    let city = |name: &'static str| name.rsplit('/').next().unwrap_or(name);
    names()
        .find(|name| name.eq_ignore_ascii_case(&wanted))
        .or_else(|| names().find(|name| city(name).eq_ignore_ascii_case(&wanted)))
        .or_else(|| {
            let wanted = wanted.to_lowercase();
            // A name without a continent is compared with cities, any other with whole names.
            let measured = |name: &'static str| match wanted.contains('/') {
                true => name.to_lowercase(),
                false => city(name).to_lowercase(),
            };
            names()
                .map(|name| (strsim::damerau_levenshtein(&wanted, &measured(name)), name))
                .filter(|(distance, _)| *distance <= 1.max(wanted.len() / 4))
                .min()
                .map(|(_, name)| name)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_intended_zone_is_found() {
        for (wrong, right) in [
            ("Asia/Soul", "Asia/Seoul"),
            ("Asia/Seol", "Asia/Seoul"),
            ("asia/seoul", "Asia/Seoul"),
            ("Seoul", "Asia/Seoul"),
            ("Soul", "Asia/Seoul"),
            ("KST", "Asia/Seoul"),
            ("kst", "Asia/Seoul"),
            ("PST", "America/Los_Angeles"),
            ("America/New York", "America/New_York"),
            ("Europe/Berln", "Europe/Berlin"),
            ("utc", "UTC"),
        ] {
            assert_eq!(nearest_zone(wrong), Some(right), "{wrong}");
        }
        for nothing in ["", "Mars/Olympus_Mons", "???", "한국"] {
            assert_eq!(nearest_zone(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn every_abbreviation_leads_to_a_zone() {
        for (short, zone) in ABBREVIATIONS {
            assert!(zone.parse::<Tz>().is_ok(), "{short}");
        }
    }
}
