//! Running other programs.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The root folder of the workspace.
pub(crate) fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// The cargo that runs this, in the root of the workspace.
pub(crate) fn cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root()).args(arguments);
    // What the cargo that runs this says of this crate would count as changed input of
    // build scripts, and what depends on them would be built again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// A process that ends with its owner: if it still runs when this is dropped, it is killed
/// and waited for.
pub(crate) struct Owned(pub(crate) Child);

impl Drop for Owned {
    fn drop(&mut self) {
        // It may have ended already: then there is nothing to do but to collect it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How a command ended.
pub(crate) struct Finished {
    pub(crate) success: bool,
    /// Its last lines, for a summary.
    pub(crate) tail: Vec<String>,
}

/// Runs a command, repeats what it says line by line, and shows each line to `each`.
///
/// # Errors
/// The command cannot be started.
pub(crate) fn run_echoed(command: &mut Command, mut each: impl FnMut(&str)) -> Result<Finished> {
    let spawned =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let spawned = spawned.with_context(|| format!("cannot start {}", describe(command)))?;
    let mut child = Owned(spawned);
    let (sender, lines) = sync_channel(TAIL_LINES);
    forward(child.0.stdout.take(), &sender);
    forward(child.0.stderr.take(), &sender);
    drop(sender);

    let mut tail = VecDeque::with_capacity(TAIL_LINES);
    for line in lines {
        println!("{line}");
        each(&line);
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(line);
    }
    let success = child.0.wait().context("cannot wait for the command")?.success();
    Ok(Finished { success, tail: tail.into() })
}

/// What a command writes on standard output, all of it.
///
/// # Errors
/// The command cannot be started, or it failed: then with its last words.
pub(crate) fn output_of(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {}", describe(command)))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed: {}", describe(command), words.trim());
    }
    String::from_utf8(output.stdout).context("the command's output is not UTF-8")
}

/// Builds with cargo and returns the path of the program of that name. A bench's build
/// makes the package's other programs too.
///
/// # Errors
/// The build failed; cargo has said why.
pub(crate) fn build_program<'a>(
    name: &str,
    arguments: impl IntoIterator<Item = &'a str>,
) -> Result<PathBuf> {
    let mut command = cargo(arguments);
    command.arg("--message-format=json-render-diagnostics");
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", describe(&command)))?;
    if !output.status.success() {
        bail!("{} failed", describe(&command));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let program = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back();
    program.with_context(|| format!("{} built no program {name}", describe(&command)))
}

/// The command as it would be typed.
pub(crate) fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let words = std::iter::once(name).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn forward(pipe: Option<impl Read + Send + 'static>, lines: &SyncSender<String>) {
    let Some(pipe) = pipe else { return };
    let lines = lines.clone();
    thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line);
            if lines.send(text.trim_end_matches(['\r', '\n']).to_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
}

const TAIL_LINES: usize = 40;
