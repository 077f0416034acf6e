//! What the sources must look like beyond what compilers check.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::Outcome;
use crate::shell;

/// An example is read before it is run.
///
/// # Errors
/// Names the example that is too long.
pub(super) fn examples_are_short() -> Result<Outcome> {
    for path in examples()? {
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let lines = text.lines().count();
        ensure!(
            lines <= EXAMPLE_LINES,
            "{} has {lines} lines; an example has at most {EXAMPLE_LINES}",
            path.display()
        );
    }
    Ok(Outcome::Held)
}

/// The Rust files in the examples folder of each crate.
fn examples() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(shell::root()).context("cannot list the workspace")? {
        let folder = entry?.path().join("examples");
        if !folder.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

const EXAMPLE_LINES: usize = 40;
