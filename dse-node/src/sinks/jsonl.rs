//! A file of JSON lines that is appended to. Where it cannot be written to, lines are lost
//! and that is told, until it can; where it was rotated away, a new one is begun.

use std::io::{self, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tokio::fs::{self, File};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

/// A file that lines are appended to.
#[derive(Debug)]
pub(super) struct LinesFile {
    path: PathBuf,
    /// None after a failure: then it is opened again.
    file: Option<File>,
    /// Lines that could not be written, since the last one that could.
    lost: usize,
}

impl LinesFile {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// It can be neither.
    pub(super) async fn open(path: PathBuf) -> io::Result<Self> {
        let file = Some(open(&path).await?);
        Ok(Self { path, file, lost: 0 })
    }

    /// Appends whole lines, or tells that they are lost.
    pub(super) async fn append(&mut self, lines: &[u8]) {
        let written = self.write(lines).await;
        let shown = self.path.display();
        match written {
            Ok(()) if self.lost > 0 => {
                tracing::warn!("{shown} can be written to again; {} lines are lost", self.lost);
                self.lost = 0;
            }
            Ok(()) => {}
            Err(error) => {
                if self.lost == 0 {
                    tracing::error!("cannot write to {shown}, so lines are lost: {error}");
                }
                self.lost += lines.iter().filter(|byte| **byte == b'\n').count();
            }
        }
    }

    async fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) if leads_to(&self.path, &file).await => file,
            _ => open(&self.path).await?,
        };
        file.write_all(lines).await?;
        file.flush().await?;
        self.file = Some(file);
        Ok(())
    }
}

async fn open(path: &Path) -> io::Result<File> {
    let mut file = File::options().create(true).append(true).open(path).await?;
    if file.metadata().await?.is_file() && ends_within_a_line(path).await {
        file.write_all(b"\n").await?;
    }
    Ok(file)
}

/// Was the file cut within a line, by a crash or a full disk?
async fn ends_within_a_line(path: &Path) -> bool {
    let last = async {
        let mut file = File::open(path).await?;
        file.seek(SeekFrom::End(-1)).await?;
        file.read_u8().await
    };
    // An empty file cannot be read before its end, one that is not ours to read not at all.
    last.await.is_ok_and(|last| last != b'\n')
}

/// Is the file still the one of this name?
async fn leads_to(path: &Path, file: &File) -> bool {
    let (there, ours) = (fs::metadata(path).await, file.metadata().await);
    let identity = |found: &std::fs::Metadata| (found.dev(), found.ino());
    matches!((there, ours), (Ok(there), Ok(ours)) if identity(&there) == identity(&ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn text(path: &Path) -> String {
        fs::read_to_string(path).await.expect("readable")
    }

    #[tokio::test]
    async fn a_line_that_was_cut_does_not_spoil_the_next() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("samples.jsonl");
        fs::write(&path, "{\"key\":\"a\"}\n{\"key\":").await.expect("written");
        let mut file = LinesFile::open(path.clone()).await.expect("opened");
        file.append(b"{\"key\":\"b\"}\n").await;
        assert_eq!(text(&path).await, "{\"key\":\"a\"}\n{\"key\":\n{\"key\":\"b\"}\n");
    }

    #[tokio::test]
    async fn a_full_disk_costs_what_comes_while_it_is_full() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("samples.jsonl");
        std::os::unix::fs::symlink("/dev/full", &path).expect("linked");
        let mut file = LinesFile::open(path.clone()).await.expect("opened");
        file.append(b"1\n2\n").await;
        file.append(b"3\n").await;
        assert_eq!(file.lost, 3);
        fs::remove_file(&path).await.expect("removed");
        file.append(b"4\n").await;
        assert_eq!((file.lost, text(&path).await), (0, "4\n".to_owned()));
    }

    #[tokio::test]
    async fn a_file_that_was_rotated_away_is_begun_anew() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (path, old) = (folder.path().join("samples.jsonl"), folder.path().join("old"));
        let mut file = LinesFile::open(path.clone()).await.expect("opened");
        file.append(b"1\n").await;
        fs::rename(&path, &old).await.expect("renamed");
        file.append(b"2\n").await;
        assert_eq!((text(&old).await, text(&path).await), ("1\n".to_owned(), "2\n".to_owned()));
    }
}
