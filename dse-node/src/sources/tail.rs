//! The lines of a growing file, in the manner of `tail -F`: a file that is replaced
//! (rotated) is read to its end and then its successor from the start, a file that is
//! cut is read from the start again, a file that is missing is waited for.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use bytes::Bytes;

/// Most bytes read in one [`Tail::read_lines`].
const READ_BYTES: usize = 256 * 1024;
/// A line longer than this is given in pieces of this length.
const LINE_BYTES: usize = 1024 * 1024;

/// A reader of a growing file.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    open: Option<Open>,
    /// The start of a line whose end is not written yet.
    partial: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Device and inode: what tells a file from its successor under the same name.
    identity: (u64, u64),
    position: u64,
}

impl Tail {
    /// From the first line of the file, whether it is there already or not.
    pub(super) fn from_start(path: PathBuf) -> Self {
        Self { path, open: None, partial: Vec::new() }
    }

    /// From what is added to the file from now on.
    ///
    /// # Errors
    /// The file is there but cannot be read.
    pub(super) fn from_end(path: PathBuf) -> io::Result<Self> {
        let mut tail = Self::from_start(path);
        if let Some(mut open) = tail.open_path()? {
            open.position = open.file.seek(SeekFrom::End(0))?;
            tail.open = Some(open);
        }
        Ok(tail)
    }

    /// The lines that are there now and were not given yet, without their ends; none
    /// where there is nothing new. Where there is much, a part of it: read again until
    /// there is none.
    ///
    /// # Errors
    /// The file is there but cannot be read.
    pub(super) fn read_lines(&mut self) -> io::Result<Vec<Bytes>> {
        let mut lines = Vec::new();
        while lines.is_empty() {
            if self.open.is_none() {
                self.open = self.open_path()?;
            }
            let Some(open) = &mut self.open else { break };
            if open.read_into(&mut self.partial)? {
                take_lines(&mut self.partial, &mut lines);
            } else if !self.follow(&mut lines)? {
                break;
            }
        }
        Ok(lines)
    }

    /// At the end of the open file: goes on with its successor, or with its new start,
    /// if there is such. What has no line end by then will get none.
    fn follow(&mut self, lines: &mut Vec<Bytes>) -> io::Result<bool> {
        let Some(open) = &mut self.open else { return Ok(false) };
        let found = match fs::metadata(&self.path) {
            Ok(found) => found,
            // Between the two steps of a rotation.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        if (found.dev(), found.ino()) != open.identity {
            // The old file may have grown before it was replaced.
            if open.read_into(&mut self.partial)? {
                take_lines(&mut self.partial, lines);
                return Ok(true);
            }
            self.open = None;
        } else if found.len() < open.position {
            open.position = open.file.seek(SeekFrom::Start(0))?;
        } else {
            return Ok(false);
        }
        if !self.partial.is_empty() {
            lines.push(std::mem::take(&mut self.partial).into());
        }
        Ok(true)
    }

    fn open_path(&self) -> io::Result<Option<Open>> {
        // Asked before it is opened: a pipe that nobody writes to would hold the open up.
        let opened = fs::metadata(&self.path).and_then(|found| match found.is_file() {
            true => File::open(&self.path),
            false => Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file")),
        });
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let found = file.metadata()?;
        Ok(Some(Open { file, identity: (found.dev(), found.ino()), position: 0 }))
    }
}

impl Open {
    /// Appends what there is; was there anything?
    fn read_into(&mut self, buffer: &mut Vec<u8>) -> io::Result<bool> {
        let read = (&self.file).take(READ_BYTES as u64).read_to_end(buffer)?;
        self.position += read as u64;
        Ok(read > 0)
    }
}

fn take_lines(buffer: &mut Vec<u8>, lines: &mut Vec<Bytes>) {
    let whole = Bytes::from(std::mem::take(buffer));
    let mut start = 0;
    while let Some(length) = whole[start..].iter().position(|byte| *byte == b'\n') {
        let line = &whole[start..start + length];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        lines.push(whole.slice_ref(line));
        start += length + 1;
    }
    let rest = &whole[start..];
    if rest.len() >= LINE_BYTES {
        lines.push(whole.slice_ref(rest));
    } else {
        buffer.extend_from_slice(rest);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn texts(tail: &mut Tail) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let lines = tail.read_lines().expect("readable");
            if lines.is_empty() {
                return all;
            }
            all.extend(lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()));
        }
    }

    fn append(path: &std::path::Path, text: &str) {
        let mut file = File::options().append(true).create(true).open(path).expect("open");
        file.write_all(text.as_bytes()).expect("written");
    }

    #[test]
    fn whole_lines_come_as_they_are_finished() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("log");
        let mut tail = Tail::from_start(path.clone());
        assert!(texts(&mut tail).is_empty(), "a missing file is waited for");
        append(&path, "one\ntw");
        assert_eq!(texts(&mut tail), ["one"]);
        append(&path, "o\r\n\nthree\n");
        assert_eq!(texts(&mut tail), ["two", "", "three"]);
    }

    #[test]
    fn from_the_end_only_what_is_new() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("log");
        append(&path, "old\n");
        let mut tail = Tail::from_end(path.clone()).expect("opened");
        append(&path, "new\n");
        assert_eq!(texts(&mut tail), ["new"]);
    }

    #[test]
    fn a_rotated_file_is_read_to_its_end_and_then_its_successor() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("log");
        append(&path, "one\n");
        let mut tail = Tail::from_start(path.clone());
        assert_eq!(texts(&mut tail), ["one"]);
        append(&path, "two\nhalf");
        fs::rename(&path, folder.path().join("log.1")).expect("rotated");
        assert_eq!(texts(&mut tail), ["two"]);
        append(&path, "three\n");
        assert_eq!(texts(&mut tail), ["half", "three"]);
    }

    #[test]
    fn a_cut_file_is_read_from_its_start_again() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("log");
        append(&path, "one\ntwo\n");
        let mut tail = Tail::from_start(path.clone());
        assert_eq!(texts(&mut tail), ["one", "two"]);
        fs::write(&path, "new\n").expect("cut and written");
        assert_eq!(texts(&mut tail), ["new"]);
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let error = Tail::from_end(folder.path().to_owned()).expect_err("a folder");
        assert!(error.to_string().contains("not a regular file"), "{error}");

        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("started").success());
        let mut tail = Tail::from_start(pipe);
        let error = tail.read_lines().expect_err("a pipe that nobody writes to");
        assert!(error.to_string().contains("not a regular file"), "{error}");
    }

    #[test]
    fn an_endless_line_does_not_grow_the_buffer_without_bound() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("log");
        fs::write(&path, vec![b'x'; 3 * LINE_BYTES]).expect("written");
        let mut tail = Tail::from_start(path);
        let pieces = texts(&mut tail);
        assert!(
            pieces.len() >= 2 && pieces.iter().all(|piece| piece.len() <= LINE_BYTES + READ_BYTES)
        );
    }
}
