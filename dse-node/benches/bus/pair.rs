//! The processes that measure together, seen from their parent.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

use crate::job::{Ends, Job, Measure, Role};
use crate::options;

/// Runs one measurement; returns what its processes found, together.
///
/// # Errors
/// A process failed; it has said why.
pub(crate) fn run(job: &Job) -> Result<Value> {
    if job.ends != Ends::Processes {
        return Ok(Half::start(job, &Role::Both)?.next()?.into());
    }
    let mut receiver = Half::start(job, &Role::Receiver)?;
    let ready = receiver.next().context("the receiver did not get ready")?;
    let peer = ready["ready"].as_str().context("the receiver has no address")?.to_owned();
    let mut sender = Half::start(job, &Role::Sender { peer })?;
    let mut found = sender.next().context("the sender")?;
    if job.measure != Measure::RoundTrip {
        found.append(&mut receiver.next().context("the receiver")?);
    }
    Ok(found.into())
}

/// One of the processes: it runs until its standard input ends, and is killed if it
/// does not.
pub(crate) struct Half {
    process: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Half {
    pub(crate) fn start(job: &Job, role: &Role) -> Result<Self> {
        let program = std::env::current_exe().context("where is this program?")?;
        let mut process = Command::new(program)
            .args(options::child_arguments(job, role))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start this program again")?;
        let stdin = process.stdin.take();
        let stdout = process.stdout.take().context("the process has no standard output")?;
        Ok(Self { process, stdin, stdout: BufReader::new(stdout) })
    }

    /// Its number on this machine.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Tells it something; returns what it says to that.
    pub(crate) fn ask(&mut self, line: &str) -> Result<Map<String, Value>> {
        let stdin = self.stdin.as_mut().context("it is told nothing any more")?;
        writeln!(stdin, "{line}").context("a process does not read its standard input")?;
        self.next()
    }

    /// The next object that it prints.
    pub(crate) fn next(&mut self) -> Result<Map<String, Value>> {
        let mut line = String::new();
        let read = self.stdout.read_line(&mut line).context("cannot read from a process")?;
        ensure!(read > 0, "it ended too early");
        serde_json::from_str(&line).with_context(|| format!("a process said {line:?}"))
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // The measurement is over: there is nothing to lose any more.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
