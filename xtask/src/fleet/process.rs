//! One `dse-node` process and what it says.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Setting;
use super::journal::{Journal, Line};
use crate::shell::Owned;

/// A process that is killed when dropped.
pub(crate) struct Process {
    child: Owned,
    stdin: ChildStdin,
}

/// Whose words a process's lines are.
#[derive(Clone)]
pub(crate) enum Speaker {
    /// The node of this tag.
    Node(String),
    /// Many nodes: each line names its own.
    Host,
}

impl Process {
    /// Starts `dse-node` and writes into the journal what it says.
    pub(crate) fn start(
        setting: &Setting,
        arguments: &[String],
        journal: &Arc<Journal>,
        speaker: Speaker,
    ) -> Result<Self> {
        let mut command = Command::new(&setting.program);
        // What the user set is for the user's own nodes.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("DSE_") {
                command.env_remove(name);
            }
        }
        let child = command
            .args(arguments)
            .env("DSE_RUNTIME_DIR", setting.folder.join("run"))
            .env("DSE_DATA_DIR", setting.folder.join("data"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", setting.program.display()))?;
        let mut child = Owned(child);
        let stdin = child.0.stdin.take().context("the process has no standard input")?;
        let stdout = child.0.stdout.take().context("the process has no standard output")?;
        let stderr = child.0.stderr.take().context("the process has no standard error")?;

        let (teller, words) = (speaker.clone(), journal.clone());
        thread::spawn(move || each_line(stderr, |text| words.append(teller.complaint(text))));
        let journal = journal.clone();
        thread::spawn(move || {
            each_line(stdout, |text| journal.append(speaker.statement(text)));
            if let Speaker::Node(tag) = speaker {
                journal.append(Line::new(&tag, json!({"event": "exited"})));
            }
        });
        Ok(Self { child, stdin })
    }

    /// Its number on this machine.
    pub(crate) fn id(&self) -> u32 {
        self.child.0.id()
    }

    /// Writes a line to its standard input.
    pub(crate) fn say(&mut self, line: &str) -> Result<()> {
        writeln!(self.stdin, "{line}").context("a node does not read its standard input any more")
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.0.kill().context("cannot kill a node")
    }
}

impl Speaker {
    /// A line of standard output.
    fn statement(&self, text: &str) -> Line {
        let said: Value = serde_json::from_str(text).unwrap_or_else(|_| json!({"stderr": text}));
        match self {
            Self::Node(tag) => Line::new(tag, said),
            Self::Host => Self::job(said),
        }
    }

    /// A line of standard error.
    fn complaint(&self, text: &str) -> Line {
        let tag = match self {
            Self::Node(tag) => tag,
            Self::Host => "host",
        };
        Line::new(tag, json!({"stderr": text}))
    }

    /// What a host repeats of one of its jobs, as if the job had said it.
    fn job(said: Value) -> Line {
        let tag = said["tag"].as_str().unwrap_or("host").to_owned();
        if let Some(text) = said["stdout"].as_str() {
            return Self::Node(tag).statement(text);
        }
        if !said["exit"].is_null() {
            return Line::new(&tag, json!({"event": "exited"}));
        }
        Line::new(&tag, said)
    }
}

fn each_line(pipe: impl Read, mut each: impl FnMut(&str)) {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        each(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosted_job_speaks_like_a_process() {
        let host = Speaker::Host;
        let ready = host.statement(r#"{"tag":"a.1","stdout":"{\"event\":\"ready\"}"}"#);
        assert_eq!((ready.tag.as_str(), ready.event()), ("a.1", Some("ready")));
        let words = host.statement(r#"{"tag":"a.1","stderr":"oh"}"#);
        assert_eq!((words.tag.as_str(), words.text("stderr")), ("a.1", Some("oh")));
        let exit = host.statement(r#"{"tag":"a.1","exit":0}"#);
        assert_eq!((exit.tag.as_str(), exit.event()), ("a.1", Some("exited")));
    }

    #[test]
    fn what_is_no_json_is_kept_as_words() {
        let line = Speaker::Node("a".to_owned()).statement("thread 'main' panicked");
        assert_eq!(line.text("stderr"), Some("thread 'main' panicked"));
    }
}
