//! The transcript: all that happens, in words.

use dse_core::protocol::wire::{self, Decoded};
use dse_core::protocol::{Input, Output};

use super::World;

impl World {
    pub(super) fn log_input(&mut self, index: usize, input: &Input) {
        let text = match input {
            Input::Message { link, bytes } => format!("<- {} {}", link.0, show(bytes)),
            other => format!("<- {other:?}"),
        };
        self.log(index, &text);
    }

    pub(super) fn log_output(&mut self, index: usize, output: &Output) {
        let text = match output {
            Output::Send { link, bytes } => format!("-> {} {}", link.0, show(bytes)),
            other => format!("-> {other:?}"),
        };
        self.log(index, &text);
    }

    /// Puts a line of the test's own into the transcript.
    pub fn remark(&mut self, text: &str) {
        if self.options.transcript {
            let seconds = self.now as f64 / 1e9;
            self.transcript.push(format!("{seconds:>11.6} ---- {text}"));
        }
    }

    pub(super) fn log(&mut self, index: usize, text: &str) {
        if !self.options.transcript {
            return;
        }
        let seconds = self.now as f64 / 1e9;
        let line = format!("{seconds:>11.6} {:<4} {text}", self.nodes[index].name);
        self.transcript.push(line);
    }
}

impl Drop for World {
    /// A failing test shows how it came to that.
    fn drop(&mut self) {
        if std::thread::panicking() && self.options.transcript {
            let skipped = self.transcript.len().saturating_sub(LINES_SHOWN);
            eprintln!("... {skipped} lines before; the last of the transcript:");
            for line in &self.transcript[skipped..] {
                eprintln!("{line}");
            }
        }
    }
}

/// A message as a line of the transcript shows it.
fn show(bytes: &[u8]) -> String {
    match wire::decode(bytes) {
        Ok(Decoded::Known(message)) => format!("{message:?}"),
        other => format!("{other:?} ({} bytes)", bytes.len()),
    }
}

/// How many lines of the transcript a failing test prints.
const LINES_SHOWN: usize = 120;
