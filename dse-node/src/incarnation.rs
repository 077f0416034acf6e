//! The incarnation of a start: the clock, and never less than before where that is
//! remembered.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use dse_core::protocol::Incarnation;

use crate::settings::Settings;

/// This start's incarnation: the present time in milliseconds. For a node that comes
/// back under its name it is remembered, so that it grows even where clocks go back.
/// What cannot be remembered does no harm but in that rare case.
pub fn next(settings: &Settings, comes_back: bool) -> Incarnation {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    if !comes_back {
        return Incarnation(now);
    }
    let remembered = settings
        .folders
        .data_of(&settings.bus)
        .and_then(|folder| grow(&folder.join(format!("{}.incarnation", settings.name)), now));
    Incarnation(remembered.unwrap_or_else(|error| {
        tracing::info!("this start is not remembered: {error:#}");
        now
    }))
}

fn grow(path: &Path, now: u64) -> Result<u64> {
    let stored = fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let next = stored.map_or(now, |stored| now.max(stored.saturating_add(1)));
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    fs::write(&draft, next.to_string())
        .and_then(|()| fs::rename(&draft, path))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_even_when_the_clock_goes_back() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("a.incarnation");
        assert_eq!(grow(&path, 1000).expect("stored"), 1000);
        assert_eq!(grow(&path, 500).expect("stored"), 1001);
        assert_eq!(grow(&path, 2000).expect("stored"), 2000);
    }

    #[test]
    fn a_damaged_file_counts_as_none() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("a.incarnation");
        fs::write(&path, "garbage").expect("written");
        assert_eq!(grow(&path, 7).expect("stored"), 7);
    }
}
