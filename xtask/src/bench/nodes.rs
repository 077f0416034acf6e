//! What the benches of real nodes have in common.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::wire;
use crate::args::NodesOptions;
use crate::fleet::Fleet;
use crate::shell;

/// How long a bus may take to get where it should.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What each node exposes.
const VALUES: usize = 5;

/// Builds `dse-node` and returns the program.
///
/// # Errors
/// It cannot be built.
pub(super) fn build() -> Result<PathBuf> {
    println!("building dse-node");
    let build = ["build", "--release", "-p", "dse-node", "--bin", "dse-node", "--locked"];
    shell::build_program("dse-node", build)
}

/// The part of a node's configuration that gives it a little to tell.
pub(super) fn values() -> String {
    let value = |number| {
        format!("[[source]]\nkind = \"value\"\nkey = \"{{node}}/{number}\"\nvalue = \"{number}\"\n")
    };
    (0..VALUES).map(value).collect()
}

/// Writes all figures where the user wants them.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write_json(options: &NodesOptions, figures: Vec<Value>) -> Result<()> {
    let Some(file) = &options.json else { return Ok(()) };
    let text = format!("{:#}\n", Value::from(figures));
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// Waits until each node says that it is ready.
///
/// # Errors
/// One ended, or it takes longer than [`PATIENCE`].
pub(super) fn await_ready(fleet: &Fleet, nodes: usize) -> Result<()> {
    let (mut ready, mut ended) = (0, None);
    let all = fleet.journal.follow(0, PATIENCE, |line| {
        match line.event() {
            Some("ready") => ready += 1,
            Some("exited") => ended = Some(line.tag.clone()),
            _ => {}
        }
        (ready == nodes || ended.is_some()).then_some(())
    });
    if let Some(tag) = ended {
        anyhow::bail!("{tag} ended; {}", fleet.last_words(&tag));
    }
    all.with_context(|| format!("only {ready} of {nodes} nodes got ready within {PATIENCE:?}"))
}

/// Waits until each node says that it has a link with each other, and no more links.
///
/// # Errors
/// It takes longer than [`PATIENCE`].
pub(super) fn await_mesh(fleet: &mut Fleet, nodes: usize) -> Result<()> {
    let others = nodes as u64 - 1;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stats = fleet.stats()?;
        let lacking = stats.iter().find(|(_, line)| {
            [line.number("links"), line.number("peers")] != [Some(others), Some(others)]
        });
        let Some((tag, line)) = lacking else { return Ok(()) };
        ensure!(
            Instant::now() < deadline,
            "{tag} has {} links with {} peers after {PATIENCE:?}; {}",
            line.value["links"],
            line.value["peers"],
            fleet.last_words(tag)
        );
        thread::sleep(LOOK_EVERY);
    }
}

/// The CPU time of all nodes so far.
///
/// # Errors
/// One has ended.
pub(super) fn cpu_ms(fleet: &Fleet) -> Result<u64> {
    fleet.process_ids().into_values().map(wire::cpu_ms).sum()
}
