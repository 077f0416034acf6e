//! A file that grows while the demo runs, as a log does.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::fleet::journal::now_ns;

/// Appends a line ten times a second, until it is dropped.
pub(super) struct Feed {
    path: PathBuf,
    stop: Option<Sender<()>>,
    writer: Option<JoinHandle<()>>,
}

impl Feed {
    pub(super) fn start(path: &Path) -> Result<Self> {
        let mut file =
            File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let (stop, stopped) = channel::<()>();
        let writer = thread::spawn(move || {
            for number in 1_u64.. {
                match stopped.recv_timeout(Duration::from_millis(100)) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
                // One write a line: a reader never sees half of it.
                let line = format!("request {number} served at {}\n", now_ns());
                if file.write_all(line.as_bytes()).is_err() {
                    return;
                }
            }
        });
        Ok(Self { path: path.to_owned(), stop: Some(stop), writer: Some(writer) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has nothing left to stop.
            let _ = writer.join();
        }
    }
}

/// Number and time of writing of a line, in nanoseconds since 1970.
pub(super) fn read_line(line: &str) -> Option<(u64, u64)> {
    let (number, at) = line.strip_prefix("request ")?.split_once(" served at ")?;
    Some((number.parse().ok()?, at.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_its_number_and_time() {
        assert_eq!(read_line("request 17 served at 99"), Some((17, 99)));
        assert_eq!(read_line("something else"), None);
    }
}
