//! `cargo xtask ci`: every check that is not a test.

mod lock;
mod sources;
mod trees;

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{shell, sim, test};

/// Runs all checks, one after the other, and says at the end which did not hold. True
/// when all held.
///
/// # Errors
/// None of its own: a check that cannot run is a check that does not hold.
pub(crate) fn run(with_tests: bool) -> Result<bool> {
    let tests = Step { name: "tests", check: tests };
    let steps = with_tests.then_some(tests).into_iter().chain(STEPS);
    let mut results = Vec::new();
    for step in steps {
        println!("\n== {} ==", step.name);
        let started = Instant::now();
        let outcome = (step.check)();
        let result = StepResult { name: step.name, outcome, took: started.elapsed() };
        println!("{}", result.line());
        results.push(result);
    }

    println!("\n== summary ==");
    for result in &results {
        println!("{}", result.line());
    }
    let first_failure =
        results.iter().find_map(|result| Some((result.name, result.outcome.as_ref().err()?)));
    if let Some((name, error)) = first_failure {
        println!("\nThe first that did not hold was {name}:\n{error:#}");
    }
    Ok(first_failure.is_none())
}

/// One check, as it is named in the summary.
struct Step {
    name: &'static str,
    check: fn() -> Result<Outcome>,
}

/// How a check ended that did not fail.
enum Outcome {
    Held,
    /// This machine lacks what it takes; the text says what.
    Skipped(String),
}

struct StepResult {
    name: &'static str,
    outcome: Result<Outcome>,
    took: Duration,
}

impl StepResult {
    fn line(&self) -> String {
        let Self { name, outcome, took } = self;
        let seconds = took.as_secs_f64();
        match outcome {
            Ok(Outcome::Held) => format!("held     {name} ({seconds:.1} s)"),
            Ok(Outcome::Skipped(why)) => format!("SKIPPED  {name}: {why}"),
            Err(_) => format!("FAILED   {name} ({seconds:.1} s)"),
        }
    }
}

/// The cheap ones first; then those that share what they compile.
const STEPS: [Step; 18] = [
    Step { name: "format", check: format },
    Step { name: "Cargo.lock is committed and fits", check: lock::is_committed },
    Step { name: "Cargo.lock has no library with a known hole", check: lock::is_sound },
    Step { name: "examples fit on a screen", check: sources::examples_are_short },
    Step {
        name: "the protocol's dependencies know no tokio and no std",
        check: trees::protocol_is_pure,
    },
    Step { name: "dse-core has at most 40 crates", check: trees::core_is_small },
    Step {
        name: "a transport alone needs nothing of the program",
        check: trees::transports_stand_alone,
    },
    Step { name: "licences, bans and sources", check: licences },
    Step { name: "advisories", check: advisories },
    Step { name: "the protocol without tokio and std", check: protocol_alone },
    Step {
        name: "the protocol for a machine without an operating system",
        check: protocol_without_std,
    },
    Step { name: "clippy", check: clippy },
    Step { name: "documentation", check: documentation },
    Step { name: "dse-node with one transport", check: single_transports },
    Step { name: "each transport alone", check: transports_alone },
    Step { name: "random schedules on a simulated bus", check: simulation },
    Step { name: "everything that can happen in small worlds", check: small_worlds },
    Step { name: "the oldest supported Rust", check: oldest_rust },
];

fn tests() -> Result<Outcome> {
    if test::run()? { Ok(Outcome::Held) } else { bail!("cargo xtask test failed") }
}

/// Fifty seconds of processor time for the buses and as much for the sequences, on one core.
fn small_worlds() -> Result<Outcome> {
    if sim::run(&["explore".into()])? { Ok(Outcome::Held) } else { bail!("a rule is broken") }
}

fn format() -> Result<Outcome> {
    if !has("fmt") {
        return Ok(Outcome::Skipped("run `rustup component add rustfmt` to have it".into()));
    }
    cargo(["fmt", "--all", "--check"])
}

fn clippy() -> Result<Outcome> {
    if !has("clippy") {
        return Ok(Outcome::Skipped(INSTALL_CLIPPY.into()));
    }
    cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--locked",
        "--",
        "-D",
        "warnings",
    ])
}

fn documentation() -> Result<Outcome> {
    let mut command =
        shell::cargo(["doc", "--workspace", "--no-deps", "--all-features", "--locked"]);
    passes(command.env("RUSTDOCFLAGS", "-D warnings"))
}

fn protocol_alone() -> Result<Outcome> {
    cargo(["check", "-p", "dse-core", "--no-default-features", "--locked"])?;
    if !has("clippy") {
        return Ok(Outcome::Skipped(format!("it compiles, unlinted: {INSTALL_CLIPPY}")));
    }
    cargo(["clippy", "-p", "dse-core", "--no-default-features", "--locked", "--", "-D", "warnings"])
}

/// Compiles the protocol where there is no std to be used by mistake.
fn protocol_without_std() -> Result<Outcome> {
    let sysroot = shell::output_of(Command::new("rustc").args(["--print", "sysroot"]))?;
    let installed = std::path::Path::new(sysroot.trim()).join("lib/rustlib");
    let bare = [
        "thumbv7em-none-eabihf",
        "thumbv7em-none-eabi",
        "x86_64-unknown-none",
        "aarch64-unknown-none",
    ];
    let Some(target) = bare.into_iter().find(|target| installed.join(target).is_dir()) else {
        return Ok(Outcome::Skipped(format!("run `rustup target add {}` to have it", bare[0])));
    };
    cargo(["check", "-p", "dse-core", "--no-default-features", "--locked", "--target", target])
}

fn single_transports() -> Result<Outcome> {
    for transport in TRANSPORTS {
        cargo([
            "check",
            "-p",
            "dse-node",
            "--no-default-features",
            "--features",
            transport,
            "--locked",
        ])?;
    }
    Ok(Outcome::Held)
}

fn transports_alone() -> Result<Outcome> {
    for transport in TRANSPORTS {
        cargo(["check", "-p", &format!("dse-transport-{transport}"), "--locked"])?;
    }
    // For who brings certificates from elsewhere.
    cargo(["check", "-p", "dse-transport-quic", "--no-default-features", "--locked"])
}

fn licences() -> Result<Outcome> {
    if !has("deny") {
        return Ok(Outcome::Skipped(INSTALL_DENY.into()));
    }
    cargo(["deny", "--all-features", "--locked", "check", "licenses", "bans", "sources"])
}

/// The database of advisories is elsewhere: a machine that cannot reach it shows nothing by
/// failing.
fn advisories() -> Result<Outcome> {
    if !has("deny") {
        return Ok(Outcome::Skipped(INSTALL_DENY.into()));
    }
    if shell::output_of(&mut shell::cargo(["deny", "--locked", "fetch", "db"])).is_err() {
        return Ok(Outcome::Skipped("their database cannot be fetched from here".into()));
    }
    cargo(["deny", "--all-features", "--locked", "check", "--disable-fetch", "advisories"])
}

/// Not every toolchain has all of cargo's commands.
fn has(command: &str) -> bool {
    shell::output_of(&mut shell::cargo([command, "--version"])).is_ok()
}

/// Seeds that everybody runs, then seeds that nobody has run.
fn simulation() -> Result<Outcome> {
    let since = std::time::UNIX_EPOCH.elapsed().context("the clock is before 1970")?;
    let fresh = since.as_secs() * SEEDS;
    for from in [0, fresh] {
        let [from, seeds] = [from, SEEDS].map(|number| number.to_string());
        if !sim::run(&["--from".to_owned(), from, "--seeds".to_owned(), seeds])? {
            bail!("a seed fails; above is the command that replays it");
        }
    }
    Ok(Outcome::Held)
}

fn oldest_rust() -> Result<Outcome> {
    let oldest = env!("CARGO_PKG_RUST_VERSION");
    let toolchain = format!("+{oldest}");
    if shell::output_of(Command::new("cargo").args([&toolchain, "--version"])).is_err() {
        return Ok(Outcome::Skipped(format!("run `rustup toolchain install {oldest}` to have it")));
    }
    let mut command = Command::new("cargo");
    command.current_dir(shell::root()).args([&toolchain, "check", "--workspace", "--locked"]);
    // Else the cargo that runs this would pass its own compiler on.
    command.env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN");
    // Its own folder, so that the two compilers do not undo each other's work.
    passes(command.env("CARGO_TARGET_DIR", shell::root().join("target/oldest-rust")))
}

fn cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<Outcome> {
    passes(&mut shell::cargo(arguments))
}

fn passes(command: &mut Command) -> Result<Outcome> {
    let finished = shell::run_echoed(command, |_| {})?;
    if finished.success {
        return Ok(Outcome::Held);
    }
    bail!("{} failed:\n{}", shell::describe(command), finished.tail.join("\n"))
}

const INSTALL_CLIPPY: &str = "run `rustup component add clippy` to have it";
const INSTALL_DENY: &str = "run `cargo install cargo-deny --locked` to have it";
/// Features of dse-node, and crates behind `dse-transport-`.
const TRANSPORTS: [&str; 3] = ["quic", "zmq", "mem"];
/// How many seeds are simulated, twice: half a minute each on a busy machine.
const SEEDS: u64 = 3000;
