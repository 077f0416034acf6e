//! What Cargo.lock must and must not hold.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::Outcome;
use crate::shell;

/// A clean clone builds what was tested.
///
/// # Errors
/// The file does not fit the manifests, or is not under version control.
pub(super) fn is_committed() -> Result<Outcome> {
    shell::output_of(&mut shell::cargo(["metadata", "--locked", "--format-version", "1"]))?;
    // An archive has no history, and git trusts no folder of another user.
    let top = match git(["rev-parse", "--show-toplevel"]) {
        Ok(top) => top,
        Err(error) => return Ok(Outcome::Skipped(format!("it fits, but {}", one_line(&error)))),
    };
    if Path::new(top.trim_end()).canonicalize().ok() != shell::root().canonicalize().ok() {
        return Ok(Outcome::Skipped("it fits, but this is no git checkout of its own".into()));
    }
    git(["ls-files", "--error-unmatch", "Cargo.lock"])?;
    Ok(Outcome::Held)
}

fn git<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<String> {
    let mut git = Command::new("git");
    shell::output_of(git.current_dir(shell::root()).args(arguments))
}

/// An error as the summary shows it.
fn one_line(error: &anyhow::Error) -> String {
    format!("{error:#}").lines().next().unwrap_or_default().to_owned()
}

/// The advisories that concern what DSE does with TLS, QUIC and untrusted bytes hold
/// even where cargo-deny is not at hand.
///
/// # Errors
/// Names the library, and what to do.
pub(super) fn is_sound() -> Result<Outcome> {
    let text = std::fs::read_to_string(shell::root().join("Cargo.lock"))
        .context("cannot read Cargo.lock")?;
    check(&text)?;
    Ok(Outcome::Held)
}

fn check(lock: &str) -> Result<()> {
    let packages = packages(lock);
    for (name, why) in BANNED {
        ensure!(!packages.contains_key(name), "{name} is in Cargo.lock: {why}");
    }
    for (name, least, advisory) in LEAST {
        for version in packages.get(name).into_iter().flatten() {
            if parts(version) < parts(least) {
                bail!("{name} {version} has {advisory}: run `cargo update -p {name}`");
            }
        }
    }
    Ok(())
}

/// The versions of each package.
fn packages(lock: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut packages: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let quoted = |line: &'_ str, name: &str| -> Option<(usize, usize)> {
        let start = line.strip_prefix(name)?.strip_prefix(" = \"")?;
        let from = line.len() - start.len();
        Some((from, from + start.find('"')?))
    };
    let mut name = "";
    for line in lock.lines() {
        if let Some((from, to)) = quoted(line, "name") {
            name = &line[from..to];
        } else if let Some((from, to)) = quoted(line, "version") {
            packages.entry(name).or_default().push(&line[from..to]);
        }
    }
    packages
}

fn parts(version: &str) -> Vec<u64> {
    let numbers = version.split(['-', '+']).next().unwrap_or_default();
    numbers.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

const BANNED: [(&str, &str); 3] = [
    ("aws-lc-rs", "with two providers rustls panics at start; use ring alone"),
    ("openssl", "TLS is rustls here"),
    ("rustls-pemfile", "it is unmaintained; use rustls-pki-types"),
];

const LEAST: [(&str, &str, &str); 4] = [
    ("quinn-proto", "0.11.15", "RUSTSEC-2026-0185 and RUSTSEC-2026-0037"),
    ("rustls", "0.23.18", "RUSTSEC-2024-0399"),
    ("ring", "0.17.12", "RUSTSEC-2025-0009"),
    ("tokio", "1.44.2", "RUSTSEC-2025-0023"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_banned_libraries_are_found() {
        let lock = |name: &str, version: &str| {
            format!("version = 4\n\n[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n")
        };
        assert!(check(&lock("quinn-proto", "0.11.15")).is_ok());
        assert!(check(&lock("quinn-proto", "0.12.0-rc.1")).is_ok());
        let old = check(&lock("quinn-proto", "0.11.9")).err().map(|error| error.to_string());
        assert!(old.is_some_and(|why| why.contains("cargo update -p quinn-proto")));
        assert!(check(&lock("aws-lc-rs", "1.0.0")).is_err());
    }
}
