//! Where a command prints.
//!
//! Commands never print by themselves: what they have to say goes through their
//! [`Console`], so that several of them can run within one process.

use std::io;
use std::sync::Arc;

use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Mutex, mpsc};

use crate::samples::printable;

/// A command's standard output and standard error.
#[derive(Clone, Debug)]
pub struct Console {
    json: bool,
    target: Target,
}

#[derive(Clone, Debug)]
enum Target {
    Process(Arc<Mutex<tokio::io::Stdout>>),
    Job { tag: Arc<str>, host: mpsc::Sender<JobOutput> },
}

/// What a job within a host process says.
#[derive(Debug, Serialize)]
pub struct JobOutput {
    /// Which job.
    pub tag: Arc<str>,
    /// What it says.
    #[serde(flatten)]
    pub said: Said,
}

/// What can be said.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Said {
    /// A line for standard output.
    Stdout(String),
    /// A line for standard error.
    Stderr(String),
    /// The job has ended with this status.
    Exit(u8),
}

impl Console {
    /// The streams of this process.
    pub fn process() -> Self {
        Self { json: false, target: Target::Process(Arc::new(Mutex::new(tokio::io::stdout()))) }
    }

    /// The streams of a job within a host process.
    pub fn job(tag: Arc<str>, host: mpsc::Sender<JobOutput>) -> Self {
        Self { json: false, target: Target::Job { tag, host } }
    }

    /// The same streams, for JSON or for people.
    #[must_use]
    pub fn with_json(self, json: bool) -> Self {
        Self { json, ..self }
    }

    /// Is JSON wanted on standard output?
    pub fn json(&self) -> bool {
        self.json
    }

    /// Prints whole lines on standard output.
    ///
    /// # Errors
    /// Nobody reads it any more, or it cannot be written to.
    pub async fn print(&self, lines: &[u8]) -> io::Result<()> {
        match &self.target {
            Target::Process(stdout) => {
                let mut stdout = stdout.lock().await;
                let written = async {
                    stdout.write_all(lines).await?;
                    stdout.flush().await
                };
                written.await.map_err(|error| {
                    io::Error::new(
                        error.kind(),
                        format!("cannot write to standard output: {error}"),
                    )
                })
            }
            Target::Job { tag, host } => {
                for line in String::from_utf8_lossy(lines).lines() {
                    say(tag, host, Said::Stdout(line.to_owned())).await?;
                }
                Ok(())
            }
        }
    }

    /// Prints a value as one line of JSON on standard output.
    ///
    /// # Errors
    /// As [`Self::print`].
    pub async fn print_json(&self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.print(&line).await
    }

    /// Says something on standard error, for people: progress, remarks, faults.
    pub async fn note(&self, text: impl AsRef<str>) {
        // A peer's words may be in it.
        let lines: Vec<_> = text.as_ref().split('\n').map(printable).collect();
        self.to_stderr(format!("dse-node: {}", lines.join("\n"))).await;
    }

    /// Says something on standard error: `text` for people, `value` where JSON is wanted.
    pub async fn report(&self, text: impl AsRef<str>, value: &impl Serialize) {
        match serde_json::to_string(value) {
            Ok(line) if self.json => self.to_stderr(line).await,
            _ => self.note(text).await,
        }
    }

    async fn to_stderr(&self, line: String) {
        match &self.target {
            Target::Process(_) => eprintln!("{line}"),
            Target::Job { tag, host } => {
                // A host that is gone has nobody to tell.
                let _ = say(tag, host, Said::Stderr(line)).await;
            }
        }
    }
}

async fn say(tag: &Arc<str>, host: &mpsc::Sender<JobOutput>, said: Said) -> io::Result<()> {
    let output = JobOutput { tag: tag.clone(), said };
    host.send(output).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_said_cannot_steer_a_terminal() {
        let (host, mut said) = mpsc::channel(4);
        let console = Console::job("a".into(), host);
        console.note("the node there says: \u{1b}[2J\nand more").await;
        let Some(JobOutput { said: Said::Stderr(line), .. }) = said.recv().await else {
            panic!("nothing was said");
        };
        assert_eq!(line, "dse-node: the node there says: \\u{1b}[2J\nand more");
    }
}
