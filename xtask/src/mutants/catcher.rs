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
    /// What is built and run for a mutation in this file; none if the catcher does not look
    /// at such.
    program: fn(&str) -> Option<Program>,
}

/// In the order in which they are set on a mutation.
pub(super) const CATCHERS: [Catcher; 3] = [
    Catcher { name: "tests", program: tests },
    Catcher { name: "sim", program: sim },
    Catcher { name: "explore", program: explore },
];

/// Only the tests that are about such files: scenarios on the simulated bus and the
/// codec's, or those of links and of the data plane.
fn tests(file: &str) -> Option<Program> {
    Some(Program::Tests(if is_protocol(file) { PROTOCOL_TESTS } else { NODE_TESTS }))
}

/// Random schedules. The simulated bus has links, a protocol and the machines of data, no
/// runtime.
fn sim(file: &str) -> Option<Program> {
    if is_protocol(file) {
        return Some(Program::Simulator(SEEDS));
    }
    is_data(file).then_some(Program::Simulator(SEEDS_OF_DATA))
}

/// The small worlds, with the bounds that `cargo xtask ci` searches.
fn explore(file: &str) -> Option<Program> {
    if is_protocol(file) {
        return Some(Program::Simulator(&["explore", "--control"]));
    }
    is_data(file).then_some(Program::Simulator(&["explore", "--data"]))
}

fn is_protocol(file: &str) -> bool {
    file.starts_with("dse-core/src/protocol/")
}

fn is_data(file: &str) -> bool {
    file.starts_with("dse-core/src/data/")
}

/// What cargo builds and runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Program {
    /// The tests that these arguments choose.
    Tests(&'static [&'static str]),
    /// The simulator, with optimization, with these arguments.
    Simulator(&'static [&'static str]),
}

impl Program {
    fn build(self) -> Command {
        let mut cargo = match self {
            Self::Tests(which) => self.cargo("test", which),
            Self::Simulator(_) => self.cargo("build", SIMULATOR),
        };
        if matches!(self, Self::Tests(_)) {
            cargo.arg("--no-run");
        }
        cargo
    }

    fn run(self) -> Command {
        match self {
            Self::Tests(which) => self.cargo("test", which),
            Self::Simulator(arguments) => {
                let mut cargo = self.cargo("run", SIMULATOR);
                cargo.arg("--").args(arguments);
                cargo
            }
        }
    }

    fn cargo(self, task: &str, arguments: &[&str]) -> Command {
        shell::cargo([task].into_iter().chain(arguments.iter().copied()))
    }

    /// What its output names as failed.
    fn named(self, output: &str) -> String {
        let found = match self {
            Self::Tests(_) => failed_tests(output),
            Self::Simulator(SEEDS | SEEDS_OF_DATA) => failed_seed(output),
            // What is broken comes last, after the story of how.
            Self::Simulator(_) => output.lines().next_back().map(str::to_owned),
        };
        found.unwrap_or_else(|| "it ended without a verdict".to_owned())
    }
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
    /// It fits the sources no more, and says nothing about the catcher.
    Unbuildable { why: String },
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
            Self::Unbuildable { why } => write!(f, "DOES NOT COMPILE\n{why}"),
            Self::NotTried => f.write_str("-"),
        }
    }
}

/// Catchers at work in one tree.
pub(super) struct Hunt<'a> {
    tree: &'a Tree,
    /// How long each may take: it was tried without a mutation.
    limits: BTreeMap<Program, Duration>,
}

impl<'a> Hunt<'a> {
    pub(super) fn new(tree: &'a Tree) -> Self {
        Self { tree, limits: BTreeMap::new() }
    }

    /// Tries a catcher without a mutation, once for each of its programs.
    ///
    /// # Errors
    /// It fails: then it would catch everything.
    pub(super) fn prepare(&mut self, catcher: &Catcher, mutation: &Mutation) -> Result<()> {
        let Some(program) = (catcher.program)(&mutation.file) else { return Ok(()) };
        if self.limits.contains_key(&program) {
            return Ok(());
        }
        if let Some(words) = self.build(program)? {
            bail!("the tree does not compile without a mutation:\n{words}");
        }
        let (output, took) = self.run(program, UNMUTATED_LIMIT)?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stdout);
            bail!("{} fails without a mutation:\n{words}", catcher.name);
        }
        println!("without a mutation, {} takes {:.1} s", catcher.name, took.as_secs_f64());
        self.limits.insert(program, LEAST_LIMIT.max(took * 8));
        Ok(())
    }

    /// Sets a catcher on the mutation that the tree has.
    ///
    /// # Errors
    /// A program cannot be started.
    pub(super) fn set_on(&self, catcher: &Catcher, mutation: &Mutation) -> Result<Verdict> {
        let Some(program) = (catcher.program)(&mutation.file) else {
            return Ok(Verdict::NotTried);
        };
        if let Some(why) = self.build(program)? {
            return Ok(Verdict::Unbuildable { why });
        }
        let limit = self.limits.get(&program).copied().unwrap_or(UNMUTATED_LIMIT);
        let (output, took) = self.run(program, limit)?;
        Ok(if output.status.success() {
            Verdict::Survived { took }
        } else if took >= limit {
            Verdict::Hung
        } else {
            Verdict::Caught { by: program.named(&String::from_utf8_lossy(&output.stdout)), took }
        })
    }

    /// What the compiler says, if it fails.
    fn build(&self, program: Program) -> Result<Option<String>> {
        let mut cargo = program.build();
        let output = self.at_home(&mut cargo).output().context("cannot start cargo")?;
        let words = || {
            let words = String::from_utf8_lossy(&output.stderr);
            format!("{} failed:\n{words}", shell::describe(&cargo))
        };
        Ok((!output.status.success()).then(words))
    }

    /// Runs within limits of time and memory: a mutation may make a loop without end.
    fn run(&self, program: Program, limit: Duration) -> Result<(Output, Duration)> {
        let cargo = program.run();
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
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
            .env("CARGO_PROFILE_RELEASE_INCREMENTAL", "true")
            // A mutation may leave something unused.
            .env("RUSTFLAGS", "--cap-lints=allow")
            .env("RUST_BACKTRACE", "0")
    }
}

fn failed_tests(output: &str) -> Option<String> {
    let failed =
        |line: &str| line.strip_prefix("test ")?.strip_suffix(" ... FAILED").map(str::to_owned);
    let mut tests: Vec<String> = output.lines().filter_map(failed).collect();
    tests.sort();
    match &tests[..] {
        [] => None,
        [one] => Some(one.clone()),
        [first, others @ ..] => Some(format!("{first} and {} more", others.len())),
    }
}

/// The seed that failed, and the first line of what is wrong.
fn failed_seed(output: &str) -> Option<String> {
    let mut lines = output.lines();
    let seed = lines.find_map(|line| line.split_once(" fails at "))?.0;
    Some(format!("{seed}: {}", lines.next().unwrap_or_default()))
}

const PROTOCOL_TESTS: &[&str] = &[
    "-p", "dse-sim", "-p", "dse-core", "--lib", "--test", "protocol", "--test", "wire", "--test",
    "keys", "--test", "hostile",
];
const NODE_TESTS: &[&str] =
    &["-p", "dse-core", "--lib", "--test", "plane", "--test", "data_frames"];

const SIMULATOR: &[&str] = &["-p", "dse-sim", "--release", "--quiet"];
/// Enough that what seeds find at all is mostly found, in a few seconds.
const SEEDS: &[&str] = &["--control", "--seeds", "300", "--as-it-is"];
const SEEDS_OF_DATA: &[&str] = &["--data", "--seeds", "300", "--as-it-is"];

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
        let named = |output| Program::Tests(PROTOCOL_TESTS).named(output);
        let output = "test z::b ... FAILED\ntest a ... ok\ntest c::d ... FAILED\n";
        assert_eq!(named(output), "c::d and 1 more");
        assert_eq!(named("test a::b ... FAILED"), "a::b");
        assert_eq!(named(""), "it ended without a verdict");
    }

    #[test]
    fn the_seed_and_the_world_that_failed_are_named() {
        let sim = Program::Simulator(SEEDS);
        let output = "seed 4 fails at laws/mod.rs:9:\nL3: b believes of a\nmore\n";
        assert_eq!(sim.named(output), "seed 4: L3: b believes of a");
        let explore = Program::Simulator(&["explore"]);
        assert_eq!(explore.named("leave 9 states\n1. a dials\nleave: L2\n"), "leave: L2");
        assert_eq!(explore.named(""), "it ended without a verdict");
    }
}
