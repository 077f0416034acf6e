//! The nodes that the demo and the idle bench drive: real `dse-node` processes, or jobs
//! of one `dse-node host` for the mem transport, which ends at the process.

pub(crate) mod counters;
pub(crate) mod journal;
mod process;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;

use crate::args::Transport;
use counters::{Counters, Snapshot};
use journal::{Journal, Line, now_ns};
use process::{Process, Speaker};

/// How the nodes of one run are started.
pub(crate) struct Setting {
    /// The `dse-node` program.
    pub(crate) program: PathBuf,
    pub(crate) transport: Transport,
    /// Where everything of this run lives, apart from the user's own nodes.
    pub(crate) folder: PathBuf,
    /// The pause of the periodic broadcast, for the baseline.
    pub(crate) reannounce_ms: Option<u64>,
}

/// All nodes of one run. Dropping it ends them without a word.
pub(crate) struct Fleet {
    pub(crate) journal: Arc<Journal>,
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
    pub(crate) fn new(setting: Setting) -> Result<Self> {
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
    pub(crate) fn folder(&self) -> &Path {
        &self.setting.folder
    }

    /// Is this the periodic broadcast?
    pub(crate) fn is_baseline(&self) -> bool {
        self.setting.reannounce_ms.is_some()
    }

    /// Starts a node with this configuration. Returns the tag of the launch.
    pub(crate) fn launch(&mut self, name: &str, config: &str) -> Result<String> {
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
    pub(crate) fn ask(&mut self, command: &str, arguments: &[&str]) -> Result<Value> {
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
    pub(crate) fn tell(&mut self, tag: &str, line: &str) -> Result<()> {
        match &mut self.place {
            Place::Host(host, _) => host.say(&format!("tell {tag} {line}")),
            Place::Processes(processes) => {
                processes.get_mut(tag).with_context(|| format!("{tag} does not run"))?.say(line)
            }
        }
    }

    /// Kills a node as SIGKILL does; returns when, in nanoseconds since 1970.
    pub(crate) fn kill(&mut self, tag: &str) -> Result<u64> {
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
    pub(crate) fn await_end(&mut self, tag: &str, start: usize) -> Result<()> {
        let ended = self.journal.follow(start, PATIENCE, |line| {
            (line.tag == tag && line.event() == Some("exited")).then_some(())
        });
        ensure!(ended.is_some(), "{tag} did not end; {}", self.last_words(tag));
        self.forget(tag);
        Ok(())
    }

    /// Every running node's counters, asked on its own standard input: that puts
    /// nothing on the bus.
    pub(crate) fn counters(&mut self) -> Result<Snapshot> {
        let stats = self.stats()?;
        stats.into_iter().map(|(tag, line)| Ok((tag, Counters::read(&line)?))).collect()
    }

    /// What every running node answers to `stats`, by its tag.
    pub(crate) fn stats(&mut self) -> Result<BTreeMap<String, Line>> {
        let start = self.journal.len();
        let tags = self.tags();
        for tag in &tags {
            self.tell(tag, "stats")?;
        }
        let mut stats = BTreeMap::new();
        let whole = self.journal.follow(start, PATIENCE, |line| {
            if line.event() == Some("stats") && tags.contains(&line.tag) {
                stats.insert(line.tag.clone(), line.clone());
            }
            (stats.len() == tags.len()).then_some(())
        });
        if whole.is_none() {
            let silent = tags.into_iter().find(|tag| !stats.contains_key(tag)).unwrap_or_default();
            bail!("{silent} does not tell its counters; {}", self.last_words(&silent));
        }
        Ok(stats)
    }

    /// Waits until no node has sent or received a control message for `still`. Returns
    /// since when that is so.
    pub(crate) fn settle(&mut self, still: Duration, patience: Duration) -> Result<Instant> {
        let deadline = Instant::now() + patience;
        let mut since = Instant::now();
        let mut before = control(&self.counters()?);
        while since.elapsed() < still {
            if Instant::now() > deadline {
                bail!("the control bus does not become still within {patience:?}");
            }
            thread::sleep(LOOK_EVERY);
            let now = control(&self.counters()?);
            if now != before {
                (before, since) = (now, Instant::now());
            }
        }
        Ok(since)
    }

    /// The process of each running node, by its tag; none for those that share one.
    pub(crate) fn process_ids(&self) -> BTreeMap<String, u32> {
        match &self.place {
            Place::Host(..) => BTreeMap::new(),
            Place::Processes(processes) => {
                processes.iter().map(|(tag, process)| (tag.clone(), process.id())).collect()
            }
        }
    }

    /// The last that a node wrote on standard error.
    pub(crate) fn last_words(&self, tag: &str) -> String {
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
        [command, "--json", "--transport", &transport, "--bus", "xtask"].map(str::to_owned).to_vec()
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

/// The part of the counters that must stand still.
fn control(snapshot: &Snapshot) -> Vec<(String, u64, u64)> {
    let parts =
        snapshot.iter().map(|(tag, it)| (tag.clone(), it.messages_sent, it.messages_received));
    parts.collect()
}

/// A folder of one run: removed when dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// A new folder; its path is short, because a socket's path may have 107 bytes.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("dse-{name}-{}", std::process::id()));
        std::fs::create_dir(&folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        Ok(Self(folder))
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.clone()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed lies in the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How long a node may take to answer on its own standard streams.
const PATIENCE: Duration = Duration::from_secs(10);

const LOOK_EVERY: Duration = Duration::from_millis(50);

const LAST_WORDS: usize = 8;
