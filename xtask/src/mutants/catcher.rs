//! Who catches mutations: the tests, cheapest first.

use std::collections::BTreeMap;
use std::fmt;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::list::Mutation;
use super::tree::Tree;
use crate::shell;

/// Something that may catch a mutation.
pub(super) struct Catcher {
    /// As `--with` and the table name it.
    pub(super) name: &'static str,
    /// What cargo builds and runs for a mutation in this file; none if the catcher does
    /// not look at such.
    commands: fn(&str) -> Option<Commands>,
}

/// Arguments for cargo test.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Commands {
    build: &'static [&'static str],
    /// For the test programs.
    run: &'static [&'static str],
}

/// In the order in which they are set on a mutation.
pub(super) const CATCHERS: [Catcher; 2] =
    [Catcher { name: "tests", commands: tests }, Catcher { name: "sim", commands: sim }];

/// Only the tests that are about such files: scenarios on the simulated bus and the
/// codec's, or those of links and of the data plane.
fn tests(file: &str) -> Option<Commands> {
    Some(if is_protocol(file) {
        Commands { build: PROTOCOL_TESTS, run: &["--skip", "chaos"] }
    } else {
        Commands { build: NODE_TESTS, run: &[] }
    })
}

/// Random schedules. The simulated bus has links and a protocol, no runtime.
fn sim(file: &str) -> Option<Commands> {
    is_protocol(file).then_some(Commands { build: PROTOCOL_TESTS, run: &["chaos"] })
}

fn is_protocol(file: &str) -> bool {
    file.starts_with("dse-core/src/protocol/")
}

/// What became of a mutation with one catcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It failed, as it should; with the first thing that it named.
    Caught { by: String, took: Duration },
    /// It came to no end in the time that is far more than it needs.
    Hung,
    /// All passed.
    Survived { took: Duration },
    /// Another catcher was quicker, or this one does not look at such files.
    NotTried,
}

impl Verdict {
    pub(super) fn is_caught(&self) -> bool {
        matches!(self, Self::Caught { .. } | Self::Hung)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caught { by, took } => write!(f, "{by} ({:.1} s)", took.as_secs_f64()),
            Self::Hung => f.write_str("hung"),
            Self::Survived { took } => write!(f, "SURVIVED ({:.1} s)", took.as_secs_f64()),
            Self::NotTried => f.write_str("-"),
        }
    }
}

/// Catchers at work in one tree.
pub(super) struct Hunt<'a> {
    tree: &'a Tree,
    /// How long each command may take: it was tried without a mutation.
    limits: BTreeMap<Commands, Duration>,
}

impl<'a> Hunt<'a> {
    pub(super) fn new(tree: &'a Tree) -> Self {
        Self { tree, limits: BTreeMap::new() }
    }

    /// Tries a catcher without a mutation, once for each of its commands.
    ///
    /// # Errors
    /// It fails: then it would catch everything.
    pub(super) fn prepare(&mut self, catcher: &Catcher, mutation: &Mutation) -> Result<()> {
        let Some(commands) = (catcher.commands)(&mutation.file) else { return Ok(()) };
        if self.limits.contains_key(&commands) {
            return Ok(());
        }
        self.build(commands)?;
        let (output, took) = self.run(commands, UNMUTATED_LIMIT)?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stdout);
            bail!("the {} fail without a mutation:\n{words}", catcher.name);
        }
        println!("without a mutation, {} takes {:.1} s", catcher.name, took.as_secs_f64());
        self.limits.insert(commands, LEAST_LIMIT.max(took * 8));
        Ok(())
    }

    /// Sets a catcher on the mutation that the tree has.
    ///
    /// # Errors
    /// The mutation does not compile.
    pub(super) fn set_on(&self, catcher: &Catcher, mutation: &Mutation) -> Result<Verdict> {
        let Some(commands) = (catcher.commands)(&mutation.file) else {
            return Ok(Verdict::NotTried);
        };
        self.build(commands).with_context(|| format!("mutation {:?}", mutation.name))?;
        let limit = self.limits.get(&commands).copied().unwrap_or(UNMUTATED_LIMIT);
        let (output, took) = self.run(commands, limit)?;
        Ok(if output.status.success() {
            Verdict::Survived { took }
        } else if took >= limit {
            Verdict::Hung
        } else {
            Verdict::Caught { by: named(&String::from_utf8_lossy(&output.stdout)), took }
        })
    }

    fn build(&self, commands: Commands) -> Result<()> {
        let mut cargo = shell::cargo(commands.build.iter().copied());
        cargo.arg("--no-run");
        let output = self.at_home(&mut cargo).output().context("cannot start cargo")?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            bail!("{} failed:\n{words}", shell::describe(&cargo));
        }
        Ok(())
    }

    /// Runs within limits of time and memory: a mutation may make a loop without end.
    fn run(&self, commands: Commands, limit: Duration) -> Result<(Output, Duration)> {
        let mut cargo = shell::cargo(commands.build.iter().copied());
        cargo.arg("--").args(commands.run);
        let mut command = Command::new("timeout");
        command.args(["--signal=KILL", &limit.as_secs().to_string(), "sh", "-c"]);
        command.arg(format!("ulimit -v {MEMORY_KIB}; exec \"$0\" \"$@\""));
        command.arg(cargo.get_program()).args(cargo.get_args());
        let started = Instant::now();
        let output = self
            .at_home(&mut command)
            .output()
            .context("cannot start timeout, of the GNU coreutils")?;
        Ok((output, started.elapsed()))
    }

    /// In the copy, with what makes its builds quick and its words few.
    fn at_home<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command
            .current_dir(self.tree.root())
            .env("CARGO_TARGET_DIR", self.tree.target())
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
            // A mutation may leave something unused.
            .env("RUSTFLAGS", "--cap-lints=allow")
            .env("RUST_BACKTRACE", "0")
    }
}

/// What a catcher's output names as failed.
fn named(output: &str) -> String {
    let failed =
        |line: &str| line.strip_prefix("test ")?.strip_suffix(" ... FAILED").map(str::to_owned);
    let mut tests: Vec<String> = output.lines().filter_map(failed).collect();
    tests.sort();
    match &tests[..] {
        [] => "it ended without a verdict".to_owned(),
        [one] => one.clone(),
        [first, others @ ..] => format!("{first} and {} more", others.len()),
    }
}

const PROTOCOL_TESTS: &[&str] = &[
    "test", "-p", "dse-sim", "-p", "dse-core", "--lib", "--test", "protocol", "--test", "wire",
    "--test", "keys", "--test", "hostile",
];
const NODE_TESTS: &[&str] =
    &["test", "-p", "dse-core", "--lib", "--test", "plane", "--test", "data_frames"];

/// Before it is known how long a catcher takes.
const UNMUTATED_LIMIT: Duration = Duration::from_secs(1800);
/// The least time after which a catcher counts as hung.
const LEAST_LIMIT: Duration = Duration::from_secs(60);
/// How much memory a catcher may take.
const MEMORY_KIB: u64 = 6 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failed_test_is_named() {
        let output = "test z::b ... FAILED\ntest a ... ok\ntest c::d ... FAILED\n";
        assert_eq!(named(output), "c::d and 1 more");
        assert_eq!(named("test a::b ... FAILED"), "a::b");
        assert_eq!(named(""), "it ended without a verdict");
    }
}
