//! The demo's nodes: real `dse-node` processes, or jobs of one `dse-node host` for
//! the mem transport, which ends at the process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;

use super::counters::{Counters, Snapshot};
use super::journal::{Journal, now_ns};
use super::process::{Process, Speaker};
use crate::args::Transport;

/// How the nodes of one run are started.
pub(super) struct Setting {
    /// The `dse-node` program.
    pub(super) program: PathBuf,
    pub(super) transport: Transport,
    /// Where everything of this run lives, apart from the user's own nodes.
    pub(super) folder: PathBuf,
    /// The pause of the periodic broadcast, for the baseline.
    pub(super) reannounce_ms: Option<u64>,
}

/// All nodes of one run. Dropping it ends them without a word.
pub(super) struct Fleet {
    pub(super) journal: Arc<Journal>,
    setting: Setting,
    place: Place,
    launches: usize,
}

/// Where nodes run.
enum Place {
    /// Each in a process of its own, by the tag of its launch.
    Processes(BTreeMap<String, Process>),
    /// All in one process; the tags of those that run.
    Host(Process, Vec<String>),
}

impl Fleet {
    pub(super) fn new(setting: Setting) -> Result<Self> {
        let journal = Arc::new(Journal::default());
        let place = match setting.transport {
            Transport::Mem => {
                let host = Process::start(&setting, &["host".to_owned()], &journal, Speaker::Host)?;
                Place::Host(host, Vec::new())
            }
            Transport::Quic | Transport::Zmq => Place::Processes(BTreeMap::new()),
        };
        Ok(Self { journal, setting, place, launches: 0 })
    }

    /// The folder of this run.
    pub(super) fn folder(&self) -> &Path {
        &self.setting.folder
    }

    /// Is this the periodic broadcast?
    pub(super) fn is_baseline(&self) -> bool {
        self.setting.reannounce_ms.is_some()
    }

    /// The transport of all nodes.
    pub(super) fn transport(&self) -> Transport {
        self.setting.transport
    }

    /// Starts a node with this configuration. Returns the tag of the launch.
    pub(super) fn launch(&mut self, name: &str, config: &str) -> Result<String> {
        let file = self.setting.folder.join(format!("{name}.toml"));
        std::fs::write(&file, config)
            .with_context(|| format!("cannot write {}", file.display()))?;
        let mut arguments = self.arguments("run");
        arguments.extend(["--control-stdin", "--name", name, "--config"].map(str::to_owned));
        arguments.push(file.to_string_lossy().into_owned());
        if let Some(pause) = self.setting.reannounce_ms {
            arguments.extend(["--reannounce-ms".to_owned(), pause.to_string()]);
        }
        self.start(name, &arguments)
    }

    /// Runs a command that ends by itself and returns the JSON object that it prints.
    pub(super) fn ask(&mut self, command: &str, arguments: &[&str]) -> Result<Value> {
        let mut line = self.arguments(command);
        line.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let start = self.journal.len();
        let tag = self.start(command, &line)?;
        let mut answer = None;
        let exit = self.journal.follow(start, PATIENCE, |line| {
            if line.tag == tag && line.event().is_none() && line.value["stderr"].is_null() {
                answer = Some(line.value.clone());
            }
            (line.tag == tag && line.event() == Some("exited")).then_some(())
        });
        self.forget(&tag);
        ensure!(exit.is_some(), "`dse-node {command}` did not end; {}", self.last_words(&tag));
        answer.ok_or_else(|| {
            anyhow!("`dse-node {command}` printed no answer; {}", self.last_words(&tag))
        })
    }

    /// Writes a line to a node's control input.
    pub(super) fn tell(&mut self, tag: &str, line: &str) -> Result<()> {
        match &mut self.place {
            Place::Host(host, _) => host.say(&format!("tell {tag} {line}")),
            Place::Processes(processes) => {
                processes.get_mut(tag).with_context(|| format!("{tag} does not run"))?.say(line)
            }
        }
    }

    /// Kills a node as SIGKILL does; returns when, in nanoseconds since 1970.
    pub(super) fn kill(&mut self, tag: &str) -> Result<u64> {
        let at = now_ns();
        match &mut self.place {
            Place::Host(host, _) => host.say(&format!("kill {tag}"))?,
            Place::Processes(processes) => {
                processes.get_mut(tag).with_context(|| format!("{tag} does not run"))?.kill()?;
            }
        }
        self.forget(tag);
        Ok(at)
    }

    /// Waits until a node that was told to leave has ended.
    pub(super) fn await_end(&mut self, tag: &str, start: usize) -> Result<()> {
        let ended = self.journal.follow(start, PATIENCE, |line| {
            (line.tag == tag && line.event() == Some("exited")).then_some(())
        });
        ensure!(ended.is_some(), "{tag} did not end; {}", self.last_words(tag));
        self.forget(tag);
        Ok(())
    }

    /// Every running node's counters, asked on its own standard input: that puts
    /// nothing on the bus.
    pub(super) fn counters(&mut self) -> Result<Snapshot> {
        let start = self.journal.len();
        let tags = self.tags();
        for tag in &tags {
            self.tell(tag, "stats")?;
        }
        let mut snapshot = Snapshot::new();
        let whole = self.journal.follow(start, PATIENCE, |line| {
            if line.event() == Some("stats") && tags.contains(&line.tag) {
                match Counters::read(line) {
                    Ok(counters) => snapshot.insert(line.tag.clone(), counters),
                    Err(error) => return Some(Err(error)),
                };
            }
            (snapshot.len() == tags.len()).then_some(Ok(()))
        });
        match whole {
            Some(Ok(())) => Ok(snapshot),
            Some(Err(error)) => Err(error),
            None => {
                let silent = tags.into_iter().find(|tag| !snapshot.contains_key(tag));
                let silent = silent.unwrap_or_default();
                bail!("{silent} does not tell its counters; {}", self.last_words(&silent))
            }
        }
    }

    /// The last that a node wrote on standard error.
    pub(super) fn last_words(&self, tag: &str) -> String {
        let mut words = Vec::new();
        self.journal.review(0, |line| {
            if line.tag == tag {
                words.extend(line.text("stderr").map(str::to_owned));
            }
        });
        let last = words.len().saturating_sub(LAST_WORDS);
        match &words[last..] {
            [] => "it said nothing".to_owned(),
            words => format!("it said last:\n    {}", words.join("\n    ")),
        }
    }

    fn tags(&self) -> Vec<String> {
        match &self.place {
            Place::Host(_, tags) => tags.clone(),
            Place::Processes(processes) => processes.keys().cloned().collect(),
        }
    }

    fn arguments(&self, command: &str) -> Vec<String> {
        let transport = self.setting.transport.to_string();
        [command, "--json", "--transport", &transport, "--bus", "demo"].map(str::to_owned).to_vec()
    }

    fn start(&mut self, name: &str, arguments: &[String]) -> Result<String> {
        self.launches += 1;
        let tag = format!("{name}.{}", self.launches);
        match &mut self.place {
            Place::Host(host, tags) => {
                let quoted = arguments.iter().map(|argument| format!("'{argument}'"));
                host.say(&format!("{tag} {}", quoted.collect::<Vec<_>>().join(" ")))?;
                tags.push(tag.clone());
            }
            Place::Processes(processes) => {
                let speaker = Speaker::Node(tag.clone());
                let process = Process::start(&self.setting, arguments, &self.journal, speaker)?;
                processes.insert(tag.clone(), process);
            }
        }
        Ok(tag)
    }

    fn forget(&mut self, tag: &str) {
        match &mut self.place {
            Place::Host(_, tags) => tags.retain(|other| other != tag),
            Place::Processes(processes) => drop(processes.remove(tag)),
        }
    }
}

/// How long a node may take to answer on its own standard streams.
const PATIENCE: Duration = Duration::from_secs(10);

const LAST_WORDS: usize = 8;
