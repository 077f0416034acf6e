//! `cargo xtask test`: every test of the workspace, and what became of them.

use anyhow::Result;

use crate::shell;

/// Builds and runs all tests with all features, doc tests included, and says at the
/// end how many passed, failed and were skipped. True when none failed.
///
/// # Errors
/// Cargo cannot be started.
pub(crate) fn run() -> Result<bool> {
    let mut command =
        shell::cargo(["test", "--workspace", "--all-features", "--no-fail-fast", "--locked"]);
    let mut tally = Tally::default();
    let finished = shell::run_echoed(&mut command, |line| tally.read(line))?;
    print!("{tally}");
    if !finished.success && tally.failed == 0 {
        println!("cargo test failed without a failed test: see above");
    }
    Ok(finished.success && tally.failed == 0)
}

/// Counts what libtest reports.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// The names of failed tests.
    failures: Vec<String>,
    /// What the tests said that show nothing here, on this machine or of this transport:
    /// they count as passed for libtest, and as skipped in the end.
    skipped: Vec<String>,
}

impl Tally {
    fn read(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            for count in counts.split([';', '.']) {
                let mut words = count.split_whitespace();
                let Some(number) = words.next().and_then(|word| word.parse::<u64>().ok()) else {
                    continue;
                };
                match words.next() {
                    Some("passed") => self.passed += number,
                    Some("failed") => self.failed += number,
                    Some("ignored") => self.ignored += number,
                    _ => {}
                }
            }
        } else if let Some(test) =
            line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.failures.push(test.to_owned());
        } else if let Some((_, why)) = line.split_once(SKIPPED) {
            // Not at the line's start: libtest may have begun the line with the test's name.
            self.skipped.push(why.trim().to_owned());
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let told = self.skipped.len() as u64;
        writeln!(f)?;
        for why in &self.skipped {
            writeln!(f, "skipped: {why}")?;
        }
        for test in &self.failures {
            writeln!(f, "failed: {test}")?;
        }
        let (passed, skipped) = (self.passed.saturating_sub(told), self.ignored + told);
        write!(f, "{passed} passed, {} failed, {skipped} skipped", self.failed)?;
        writeln!(f, " ({told} that say why above, {} ignored)", self.ignored)
    }
}

/// How a test says that it shows nothing here (`skip` of dse-core's conformance suite).
const SKIPPED: &str = "SKIPPED: ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tally_adds_up_all_test_programs() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test a ... ok",
            "test b::c ... FAILED",
            "test result: FAILED. 2 passed; 1 failed; 4 ignored; 0 measured; 0 filtered out; finished in 0.10s",
            "SKIPPED: nodes_reach_each_other_between_namespaces: that needs root",
            "test d ... SKIPPED: two_hosts: that needs root",
            "test result: ok. 10 passed; 0 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.00s",
        ] {
            tally.read(line);
        }
        assert_eq!((tally.passed, tally.failed, tally.ignored), (12, 1, 4));
        assert_eq!(tally.failures, ["b::c"]);
        assert_eq!(tally.skipped[1], "two_hosts: that needs root");
        let text = tally.to_string();
        assert!(text.contains("10 passed, 1 failed, 6 skipped (2 that say why above"), "{text}");
    }
}
