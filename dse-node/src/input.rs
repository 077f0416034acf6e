//! What a command reads: lines of standard input, or of what a host is told for it.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use dse_core::node::PAYLOAD_BYTES;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader, Stdin};
use tokio::sync::mpsc;

/// Longest line with its end, as on Windows.
const LINE_BYTES: usize = PAYLOAD_BYTES + "\r\n".len();

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
    /// It cannot be read, or a line is longer than a sample may be.
    pub async fn next_line(&mut self) -> Result<Option<Bytes>> {
        let stdin = match &mut self.source {
            Source::Job(lines) => return Ok(lines.recv().await.map(Bytes::from)),
            Source::Process(stdin) => stdin,
        };
        read_line(stdin, &mut self.partial).await
    }
}

/// Reads on to the end of the line of which `partial` is the start.
async fn read_line(
    from: &mut (impl AsyncBufRead + Unpin),
    partial: &mut Vec<u8>,
) -> Result<Option<Bytes>> {
    let room = LINE_BYTES.saturating_sub(partial.len());
    let mut within = from.take(room as u64);
    within.read_until(b'\n', partial).await.context("cannot read standard input")?;
    if partial.is_empty() {
        return Ok(None);
    }
    if partial.len() >= LINE_BYTES && !partial.ends_with(b"\n") {
        bail!(
            "a line of standard input is longer than the {PAYLOAD_BYTES} bytes that a sample may have"
        );
    }
    let mut line = std::mem::take(partial);
    if line.ends_with(b"\n") {
        line.pop();
    }
    if line.ends_with(b"\r") {
        line.pop();
    }
    Ok(Some(line.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(text: &[u8]) -> Vec<Bytes> {
        let (mut text, mut partial, mut lines) = (text, Vec::new(), Vec::new());
        while let Some(line) = read_line(&mut text, &mut partial).await.expect("readable") {
            lines.push(line);
        }
        lines
    }

    #[tokio::test]
    async fn lines_lose_their_ends_and_nothing_else() {
        assert_eq!(lines(b"a\n\nb\r\nlast").await, ["a", "", "b", "last"]);
        assert_eq!(lines(b"\xff\n").await, [&b"\xff"[..]]);
    }

    #[tokio::test]
    async fn an_endless_line_is_refused_before_it_fills_the_memory() {
        let mut endless = BufReader::new(tokio::io::repeat(b'x'));
        let mut partial = Vec::new();
        let error = read_line(&mut endless, &mut partial).await.expect_err("too long");
        assert!(error.to_string().contains("longer than the 67108864 bytes"), "{error}");
        assert!(partial.len() <= LINE_BYTES);
    }

    #[tokio::test]
    async fn the_longest_sample_is_a_line() {
        let mut text = vec![b'x'; PAYLOAD_BYTES];
        text.extend_from_slice(b"\r\nnext\n");
        let lines = lines(&text).await;
        assert_eq!((lines[0].len(), &lines[1][..]), (PAYLOAD_BYTES, &b"next"[..]));
    }
}
