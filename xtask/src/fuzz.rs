//! `cargo xtask fuzz`: tries ever new bytes on the fuzz targets.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::shell::{self, Finished};

/// What is fuzzed, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FuzzOptions {
    /// Only this target.
    pub(crate) target: Option<String>,
    /// Each target for so long.
    pub(crate) minutes: u64,
}

/// Runs the targets one after the other, each to the end of its time or to the first input
/// that breaks it, and says at the end how many inputs each had. True if none broke.
///
/// With nightly Rust and cargo-fuzz this is libFuzzer, which sees what code an input reaches
/// and keeps those that reach new code, in `target/fuzz/<target>`. Without, the corpus is
/// changed at random and nothing is learned.
///
/// # Errors
/// There is no such target, or a program cannot be built or started.
pub(crate) fn run(options: &FuzzOptions) -> Result<bool> {
    let targets = targets()?;
    let only = options.target.as_ref();
    let chosen: Vec<&String> =
        targets.iter().filter(|target| only.is_none_or(|only| only == *target)).collect();
    ensure!(!chosen.is_empty(), "no such target; there are {}", targets.join(", "));
    let seconds = options.minutes * 60;
    let fuzzer = has_fuzzer();
    if !fuzzer {
        println!(
            "cargo-fuzz and nightly Rust are not here: the corpus is changed at random, blindly.\n\
             `rustup toolchain install nightly` and `cargo install cargo-fuzz` for more.\n"
        );
    }
    let mut results = Vec::new();
    for target in chosen {
        println!("== {target} ==");
        let tried = if fuzzer { fuzz(target, seconds)? } else { change(target, seconds)? };
        results.push((target, tried));
    }
    println!();
    for (target, tried) in &results {
        println!("{target}: {tried}");
    }
    Ok(results.iter().all(|(_, tried)| tried.held))
}

/// What became of one target.
struct Tried {
    held: bool,
    executions: Option<String>,
}

impl std::fmt::Display for Tried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let executions = self.executions.as_deref().unwrap_or("an unknown number of");
        let found = if self.held { "nothing found" } else { "BROKEN, see above" };
        write!(f, "{executions} executions, {found}")
    }
}

/// The folders of the corpus are the targets.
fn targets() -> Result<Vec<String>> {
    let folder = fs::read_dir(corpus()).context("cannot read fuzz/corpus")?;
    let mut names: Vec<String> = folder
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<_>>()?;
    names.sort();
    Ok(names)
}

fn corpus() -> PathBuf {
    shell::root().join("fuzz/corpus")
}

fn has_fuzzer() -> bool {
    shell::output_of(nightly().args(["fuzz", "--version"])).is_ok()
}

fn nightly() -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(shell::root()).arg("+nightly");
    // Else the cargo that runs this would pass its own compiler on.
    command.env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
    command
}

/// Without a sanitizer: the workspace has no `unsafe`, and each run is faster.
fn fuzz(target: &str, seconds: u64) -> Result<Tried> {
    let reached = shell::root().join("target/fuzz").join(target);
    let broken = shell::root().join("target/fuzz/broken");
    for folder in [&reached, &broken] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut command = nightly();
    command.args(["fuzz", "run", "--fuzz-dir", "fuzz", "-s", "none", target]);
    command.arg(&reached).arg(corpus().join(target)).arg("--");
    command.arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-artifact_prefix={}/{target}-", broken.display()));
    command.args(["-max_len=4096", "-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1"]);
    let mut executions = None;
    let Finished { success: held, .. } = shell::run_echoed(&mut command, |line| {
        if let Some(count) = line.strip_prefix("stat::number_of_executed_units:") {
            executions = Some(count.trim().to_owned());
        }
    })?;
    Ok(Tried { held, executions })
}

fn change(target: &str, seconds: u64) -> Result<Tried> {
    let build = ["build", "-p", "dse-fuzz", "--release", "--locked", "--bin", target];
    let program = shell::build_program(target, build)?;
    let mut command = Command::new(program);
    command.current_dir(shell::root().join("target"));
    command.args(["--seconds", &seconds.to_string()]).arg(corpus().join(target));
    let mut executions = None;
    let Finished { success: held, .. } = shell::run_echoed(&mut command, |line| {
        if let Some((count, _)) = line.split_once(" executions") {
            executions = Some(count.to_owned());
        }
    })?;
    Ok(Tried { held, executions })
}
