//! Sockets in a private folder.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

/// Why a socket cannot be had in a folder.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    #[error("the folder {0} is open to others (mode {1:o}); a socket there needs `chmod 700`")]
    Open(PathBuf, u32),
    #[error("the folder {0} belongs to somebody else; name a folder of your own")]
    Foreign(PathBuf),
    #[error("the socket's path {0} takes more than {PATH_BYTES} bytes; name a shorter folder")]
    Long(PathBuf),
    #[error("another process listens at {0}")]
    InUse(PathBuf),
    #[error("{0} exists and is no socket; remove it or choose another name")]
    NoSocket(PathBuf),
    #[error("another process has held the lock {0} for 2 s; end it")]
    Locked(PathBuf),
    #[error("{0} is no valid path for a socket; it must be UTF-8 and have a folder")]
    Invalid(PathBuf),
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
}

/// A bound socket's file. Dropping it removes the file, unless another socket has
/// taken the place since.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl SocketFile {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            // Gone in between is as good.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens at a path that others may know. What a dead process left there is removed.
pub(crate) async fn bind_known(
    path: &Path,
) -> Result<(tokio::net::UnixListener, SocketFile), FolderError> {
    let bound = match bind(path).await {
        Err(FolderError::InUse(_)) if remove_stale(path).await? => bind(path).await,
        bound => bound,
    };
    let (listener, file) = bound?;
    let io_error = |error| FolderError::Io(path.to_owned(), error);
    listener.set_nonblocking(true).map_err(io_error)?;
    Ok((tokio::net::UnixListener::from_std(listener).map_err(io_error)?, file))
}

/// Listens at a path. Between its two steps the socket looks like a dead process's, so
/// that nobody may remove one meanwhile.
pub(crate) async fn bind(
    path: &Path,
) -> Result<(std::os::unix::net::UnixListener, SocketFile), FolderError> {
    let folder = path.parent().ok_or_else(|| FolderError::Invalid(path.to_owned()))?;
    if path.to_str().is_none() {
        return Err(FolderError::Invalid(path.to_owned()));
    }
    if path.as_os_str().len() > PATH_BYTES {
        return Err(FolderError::Long(path.to_owned()));
    }
    ensure_private(folder)?;
    let _lock = lock(folder, File::try_lock_shared).await?;
    let io_error = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => FolderError::InUse(path.to_owned()),
        _ => FolderError::Io(path.to_owned(), error),
    };
    let listener = std::os::unix::net::UnixListener::bind(path).map_err(io_error)?;
    // The file just made tells who this process is, which std cannot say.
    let file = SocketFile { path: path.to_owned(), inode: inode(path).map_err(io_error)? };
    let mine = fs::symlink_metadata(path).map_err(io_error)?.uid();
    let owner = fs::metadata(folder).map_err(io_error)?.uid();
    if mine != owner {
        return Err(FolderError::Foreign(folder.to_owned()));
    }
    Ok((listener, file))
}

/// Removes what processes that were killed left in a runtime folder. It looks at each
/// socket, so it ends after a number of live ones: what that costs others is bounded, and
/// each look begins elsewhere.
pub(crate) async fn sweep(folder: &Path) -> Result<(), FolderError> {
    let io_error = |error| FolderError::Io(folder.to_owned(), error);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(io_error)? {
        let entry = entry.map_err(io_error)?;
        let is_socket = entry.file_type().is_ok_and(|found| found.is_socket());
        if is_socket && entry.file_name().to_str().and_then(parse_name).is_some() {
            found.push(entry.path());
        }
    }
    let begin = crate::random() as usize % found.len().max(1);
    found.rotate_left(begin);
    let mut live = 0;
    for path in found {
        if !is_stale(&path).await {
            live += 1;
        } else if remove_stale(&path).await? {
            tracing::debug!(path = %path.display(), "removed the socket of a dead process");
        }
        if live == LOOKS_MAX {
            break;
        }
    }
    Ok(())
}

/// Removes a dead process's socket; false if it lives. The lock keeps out who is about to
/// listen.
async fn remove_stale(path: &Path) -> Result<bool, FolderError> {
    let folder = path.parent().ok_or_else(|| FolderError::Invalid(path.to_owned()))?;
    let _lock = lock(folder, File::try_lock).await?;
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => Err(FolderError::NoSocket(path.to_owned())),
        Ok(_) if !is_stale(path).await => Ok(false),
        _ => match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(FolderError::Io(path.to_owned(), error))
            }
            _ => Ok(true),
        },
    }
}

/// Does nobody listen at this socket? Who does not take connections now, or not so many,
/// listens all the same.
async fn is_stale(path: &Path) -> bool {
    let looked = tokio::net::UnixStream::connect(path).await;
    looked.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// The name of a socket.
pub(crate) fn name(number: u64) -> String {
    format!("{number:016x}")
}

/// The number that a name stands for.
pub(crate) fn parse_name(name: &str) -> Option<u64> {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if name.len() != 16 || !name.bytes().all(hex) {
        return None;
    }
    u64::from_str_radix(name, 16).ok()
}

/// Makes the folder if it is missing, and checks that nobody else gets in.
fn ensure_private(folder: &Path) -> Result<(), FolderError> {
    let io_error = |error| FolderError::Io(folder.to_owned(), error);
    let found = match fs::metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io_error)?;
            fs::metadata(folder).map_err(io_error)?
        }
        found => found.map_err(io_error)?,
    };
    if found.mode() & 0o077 != 0 {
        return Err(FolderError::Open(folder.to_owned(), found.mode() & 0o777));
    }
    Ok(())
}

/// Takes the lock of a folder: shared to make a socket, alone to remove a stale one. It is
/// held for microseconds, so waiting means trying again.
async fn lock(
    folder: &Path,
    take: impl Fn(&File) -> Result<(), TryLockError>,
) -> Result<File, FolderError> {
    let path = folder.join("zmq.lock");
    let io_error = |error| FolderError::Io(path.clone(), error);
    let mut options = File::options();
    let file = options.write(true).create(true).truncate(false).open(&path).map_err(io_error)?;
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match take(&file) {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(io_error(error)),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                return Err(FolderError::Locked(path));
            }
            Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// What fits into a `sockaddr_un`.
const PATH_BYTES: usize = 107;
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// How many live sockets a sweep looks at.
const LOOKS_MAX: u32 = 64;
