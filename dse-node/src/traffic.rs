//! How samples travel, as people write it: classes, headers, rates.

use std::collections::{BTreeMap, BTreeSet};

use clap::ValueEnum;
use dse_core::node::Headers;
use dse_core::protocol::Class;
use serde::{Deserialize, Deserializer};

/// How urgent samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ClassName {
    /// Before all others.
    Realtime,
    /// As most are.
    Normal,
    /// After all others: large transfers, logs.
    Bulk,
}

impl From<ClassName> for Class {
    fn from(name: ClassName) -> Self {
        match name {
            ClassName::Realtime => Self::Realtime,
            ClassName::Normal => Self::Normal,
            ClassName::Bulk => Self::Bulk,
        }
    }
}

/// Headers of these names and values, each name once: JSON has no word for more.
///
/// # Errors
/// Says which header is wrong, and what would be right.
pub fn headers<'a>(
    pairs: impl IntoIterator<Item = (&'a str, &'a str)> + Clone,
) -> Result<Headers, String> {
    let mut names = BTreeSet::new();
    if let Some((name, _)) = pairs.clone().into_iter().find(|(name, _)| !names.insert(*name)) {
        return Err(format!("the header {name} is given twice: give a name once"));
    }
    Headers::from_pairs(pairs).map_err(|error| error.to_string())
}

/// Reads headers from a configuration file: a table of texts.
///
/// # Errors
/// As [`headers`].
pub fn deserialize_headers<'de, D: Deserializer<'de>>(from: D) -> Result<Headers, D::Error> {
    let table = BTreeMap::<String, String>::deserialize(from)?;
    let pairs = table.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    headers(pairs).map_err(serde::de::Error::custom)
}

/// Refuses the key `expires` of a source that publishes states.
///
/// # Errors
/// Always.
pub fn refuse_lifetime<'de, D: Deserializer<'de>>(_: D) -> Result<(), D::Error> {
    Err(serde::de::Error::custom(
        "`expires` is for streams, and this source publishes states: their latest value is always sent",
    ))
}

/// Reads a rate in bytes a second: `800`, `64k`, `1.5M`.
///
/// # Errors
/// Says what is wrong and what would be right.
pub fn parse_rate(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no rate; write bytes a second, as in 800, 64k or 1.5M");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let each = match unit {
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let rate = (number * each).round();
    // Up to here a float counts in ones.
    if rate > 1e15 {
        return Err(format!("{text:?} is too fast; 1000000G is the most"));
    }
    Ok(rate as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_units_of_a_thousand() {
        assert_eq!(parse_rate("800"), Ok(800));
        assert_eq!(parse_rate("64k"), Ok(64_000));
        assert_eq!(parse_rate("1.5M"), Ok(1_500_000));
        assert_eq!(parse_rate("0"), Ok(0));
        for text in ["", "k", "-1", "64kB", "1.2.3", "1e3", "99999999G"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn headers_are_checked_as_a_whole() {
        let found = headers([("trace-id", "7"), ("unit", "C")]).expect("valid");
        assert_eq!(found.get("unit"), Some(&b"C"[..]));
        assert!(headers([("a", "1"), ("a", "2")]).expect_err("twice").contains("given twice"));
        assert!(headers([("dse-x", "1")]).expect_err("reserved").contains("reserved"));
        assert!(headers([("Trace", "1")]).expect_err("invalid").contains("a-z, 0-9 and -"));
    }
}
