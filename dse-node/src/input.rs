//! What a command reads: lines of standard input, or of what a host is told for it.

use anyhow::{Context, Result};
use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, BufReader, Stdin};
use tokio::sync::mpsc;

/// A command's input.
#[derive(Debug)]
pub struct Input {
    source: Source,
    /// The part of a line that was read before a wait for its rest was given up.
    partial: Vec<u8>,
}

#[derive(Debug)]
enum Source {
    Process(BufReader<Stdin>),
    Job(mpsc::Receiver<String>),
}

impl Input {
    /// The standard input of this process.
    pub fn process() -> Self {
        Self { source: Source::Process(BufReader::new(tokio::io::stdin())), partial: Vec::new() }
    }

    /// The lines that a host gives to one of its jobs.
    pub fn job(lines: mpsc::Receiver<String>) -> Self {
        Self { source: Source::Job(lines), partial: Vec::new() }
    }

    /// The next line without its end; none after the last. Cancel-safe.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn next_line(&mut self) -> Result<Option<Bytes>> {
        let stdin = match &mut self.source {
            Source::Job(lines) => return Ok(lines.recv().await.map(Bytes::from)),
            Source::Process(stdin) => stdin,
        };
        stdin.read_until(b'\n', &mut self.partial).await.context("cannot read standard input")?;
        if self.partial.is_empty() {
            return Ok(None);
        }
        let mut line = std::mem::take(&mut self.partial);
        if line.ends_with(b"\n") {
            line.pop();
        }
        if line.ends_with(b"\r") {
            line.pop();
        }
        Ok(Some(line.into()))
    }
}
