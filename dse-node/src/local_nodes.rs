//! How nodes of one user on one machine find each other: each leaves an entry in the
//! bus's runtime folder (RULES 17 of the design).
//!
//! An entry is a file that its node holds locked for as long as it lives, so an entry
//! whose lock is free is a dead node's and is removed by whoever sees it. Each node
//! first binds, then leaves its entry, then reads those of others: of two that start
//! together at least one sees the other.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use dse_core::protocol::{Endpoint, Incarnation, NodeId};
use serde::{Deserialize, Serialize};

use crate::folders::bus_of_folder;

/// Longest entry that is read.
const ENTRY_BYTES: u64 = 64 * 1024;
/// How often an entry is written again that somebody took for a dead node's.
const WRITE_TRIES: u32 = 8;
const ENDING: &str = "node";

/// What an entry says.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct LocalNode {
    /// Who.
    pub node: NodeId,
    /// Which incarnation of it.
    pub incarnation: Incarnation,
    /// Its process: `mem` endpoints mean something only within it.
    pub pid: u32,
    /// Where it can be reached.
    pub endpoints: Vec<Endpoint>,
}

/// A node's own entry. Dropping it removes the entry.
#[derive(Debug)]
pub struct Entry {
    path: PathBuf,
    _locked: File,
}

impl Drop for Entry {
    fn drop(&mut self) {
        // Where this fails the next reader removes it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Leaves an entry for others to find.
///
/// # Errors
/// The folder cannot be written to.
pub fn publish(folder: &Path, node: &LocalNode) -> Result<Entry> {
    let text = serde_json::to_vec(node)?;
    // Two nodes of one id may run for a moment: each has a file of its own.
    let name = format!("{}@{}-{}", node.node, node.incarnation, node.pid);
    let path = folder.join(format!("{name}.{ENDING}"));
    let draft = folder.join(format!("{name}.draft"));
    let mut tries = 0;
    loop {
        tries += 1;
        match write_locked(&draft, &path, &text) {
            Ok(locked) => return Ok(Entry { path, _locked: locked }),
            // Between being made and being locked the draft looked like a dead node's.
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries < WRITE_TRIES => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot leave an entry in {}", folder.display()));
            }
        }
    }
}

fn write_locked(draft: &Path, path: &Path, text: &[u8]) -> io::Result<File> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(draft)?;
    file.lock()?;
    file.write_all(text)?;
    fs::rename(draft, path)?;
    Ok(file)
}

/// The other nodes that run now. Entries and drafts of dead ones are removed.
///
/// # Errors
/// The folder cannot be read.
pub fn others(folder: &Path, own: Option<&Entry>) -> Result<Vec<LocalNode>> {
    let reading = || format!("cannot read the runtime folder {}", folder.display());
    let mut nodes = Vec::new();
    for item in fs::read_dir(folder).with_context(reading)? {
        let path = item.with_context(reading)?.path();
        let is_own = own.is_some_and(|own| own.path == path);
        let ending = path.extension().and_then(|ending| ending.to_str());
        if is_own || !matches!(ending, Some(ENDING | "draft")) {
            continue;
        }
        match read_live(&path) {
            Ok(Some(node)) if ending == Some(ENDING) => nodes.push(node),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!("cannot use the entry {}: {error}", path.display()),
        }
    }
    nodes.sort_by(|a, b| (&a.node, a.incarnation).cmp(&(&b.node, b.incarnation)));
    Ok(nodes)
}

/// The same, and those that chose another folder. What cannot be read there is passed over.
///
/// # Errors
/// As [`others`].
pub fn everywhere(
    folder: &Path,
    elsewhere: &[PathBuf],
    own: Option<&Entry>,
) -> Result<Vec<LocalNode>> {
    let mut nodes = others(folder, own)?;
    nodes.extend(elsewhere.iter().flat_map(|folder| others(folder, None).unwrap_or_default()));
    Ok(nodes)
}

/// The other buses of this user that have nodes now, given the runtime folder of one. What
/// cannot be read is passed over: it is only a hint.
pub fn other_buses(folder: &Path) -> Vec<String> {
    let Some(Ok(siblings)) = folder.parent().map(fs::read_dir) else { return Vec::new() };
    let has_nodes = |path: &Path| others(path, None).is_ok_and(|nodes| !nodes.is_empty());
    let mut buses = Vec::new();
    for path in siblings.flatten().map(|item| item.path()).filter(|path| path != folder) {
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(bus) = name.and_then(bus_of_folder)
            && has_nodes(&path)
        {
            buses.push(bus.to_owned());
        }
    }
    buses.sort();
    buses
}

/// What the entry says, if its node lives.
fn read_live(path: &Path) -> io::Result<Option<LocalNode>> {
    let file = File::open(path)?;
    // Shared, so that two readers of a dead node's entry do not take each other for it.
    match file.try_lock_shared() {
        Ok(()) => {
            fs::remove_file(path)?;
            return Ok(None);
        }
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let mut text = Vec::new();
    file.take(ENTRY_BYTES).read_to_end(&mut text)?;
    match serde_json::from_slice(&text) {
        Ok(node) => Ok(Some(node)),
        // A draft that is being written.
        Err(_) if path.extension().is_some_and(|ending| ending == "draft") => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(name: &str, incarnation: u64) -> LocalNode {
        LocalNode {
            node: NodeId::new(name).expect("valid"),
            incarnation: Incarnation(incarnation),
            pid: std::process::id(),
            endpoints: vec!["quic://127.0.0.1:1".parse().expect("valid")],
        }
    }

    fn names(nodes: &[LocalNode]) -> Vec<&str> {
        nodes.iter().map(|node| node.node.as_str()).collect()
    }

    #[test]
    fn each_sees_the_others_while_they_live() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let a = publish(folder.path(), &local("a", 1)).expect("published");
        let b = publish(folder.path(), &local("b", 2)).expect("published");
        assert_eq!(names(&others(folder.path(), Some(&a)).expect("read")), ["b"]);
        assert_eq!(names(&others(folder.path(), None).expect("read")), ["a", "b"]);
        drop(b);
        assert!(others(folder.path(), Some(&a)).expect("read").is_empty());
    }

    #[test]
    fn entries_of_the_dead_are_removed() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let dead = folder.path().join("dead@1-1.node");
        let draft = folder.path().join("dead@1-1.draft");
        fs::write(&dead, serde_json::to_vec(&local("dead", 1)).expect("json")).expect("written");
        fs::write(&draft, b"{").expect("written");
        assert!(others(folder.path(), None).expect("read").is_empty());
        assert!(!dead.exists() && !draft.exists());
    }

    #[test]
    fn other_buses_are_those_with_live_nodes() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let of = |name: &str| folder.path().join(name);
        for name in ["own.bus", "plant.bus", "empty.bus", "dead.bus", "no-bus"] {
            fs::create_dir(of(name)).expect("made");
        }
        let _live = publish(&of("plant.bus"), &local("a", 1)).expect("published");
        let _own = publish(&of("own.bus"), &local("a", 1)).expect("published");
        let dead = serde_json::to_vec(&local("b", 1)).expect("json");
        fs::write(of("dead.bus").join("b@1-1.node"), &dead).expect("written");
        let not_ours = of("no-bus").join("b@1-1.node");
        fs::write(&not_ours, &dead).expect("written");
        assert_eq!(other_buses(&of("own.bus")), ["plant"]);
        assert!(not_ours.exists());
    }

    #[test]
    fn two_nodes_of_one_id_have_two_entries() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let _one = publish(folder.path(), &local("a", 1)).expect("published");
        let _two = publish(folder.path(), &local("a", 2)).expect("published");
        assert_eq!(others(folder.path(), None).expect("read").len(), 2);
    }
}
