//! Durations as people write them: `5`, `5s`, `500ms`, `2m`.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// Longest duration that a flag takes.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Reads a duration. A bare number is seconds, as in `--timeout 5`.
///
/// # Errors
/// Says what is wrong and what would be right.
pub fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds_each = match unit.trim() {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("{text:?} is not a duration; write 5s, 500ms, 2m or 1h")),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| format!("{text:?} is not a duration; write 5s, 500ms, 2m or 1h"))?;
    let duration = Duration::try_from_secs_f64(number * seconds_each)
        .ok()
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| format!("{text:?} is too long; a year is the most"))?;
    if duration.is_zero() {
        return Err(format!("{text:?} is zero; the shortest duration is 1ms"));
    }
    Ok(duration)
}

/// Reads a duration from a configuration file: a text as above, or a number of seconds.
///
/// # Errors
/// As [`parse`].
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a duration such as \"5s\" or \"500ms\"")]
    enum Written {
        Text(String),
        Whole(u32),
        Fraction(f64),
    }
    let text = match Written::deserialize(from)? {
        Written::Text(text) => text,
        Written::Whole(seconds) => seconds.to_string(),
        Written::Fraction(seconds) => seconds.to_string(),
    };
    parse(&text).map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_bare_seconds() {
        assert_eq!(parse("5"), Ok(Duration::from_secs(5)));
        assert_eq!(parse("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("2m"), Ok(Duration::from_secs(120)));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "s", "-1", "1d", "0", "1e9", "99999h", "1.2.3"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
