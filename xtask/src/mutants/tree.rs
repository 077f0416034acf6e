//! A copy of the workspace to be mutated: the user's own files are never touched.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::list::Mutation;
use crate::shell;

/// The copy. It stays for the next run, with what was built in it.
pub(super) struct Tree {
    root: PathBuf,
}

impl Tree {
    /// Brings the copy in line with the workspace: files that git tracks or would track.
    ///
    /// # Errors
    /// Git cannot list the files, or one cannot be copied.
    pub(super) fn copy() -> Result<Self> {
        let tree = Self { root: shell::root().join("target/mutants/tree") };
        let files = files()?;
        for file in &files {
            let source = shell::root().join(file);
            // Deleted, and git has not been told yet.
            if source.is_file() {
                tree.copy_file(&source, file)?;
            }
        }
        tree.remove_all_but(&tree.root, &files)?;
        Ok(tree)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the copy is built.
    pub(super) fn target(&self) -> PathBuf {
        shell::root().join("target/mutants/target")
    }

    /// Makes one edit. Gives the file's text before it, for [`restore`](Self::restore):
    /// the workspace may have changed since it was copied.
    ///
    /// # Errors
    /// It does not fit.
    pub(super) fn apply(&self, mutation: &Mutation) -> Result<String> {
        let path = self.root.join(&mutation.file);
        let source =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", mutation.file))?;
        fs::write(&path, mutation.edit(&source)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(source)
    }

    /// Takes the edit back.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn restore(&self, mutation: &Mutation, source: &str) -> Result<()> {
        let path = self.root.join(&mutation.file);
        fs::write(&path, source).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Copies a file unless it is the same already: then cargo need not build it again.
    fn copy_file(&self, source: &Path, file: &Path) -> Result<()> {
        let target = self.root.join(file);
        let bytes =
            fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
        if fs::read(&target).is_ok_and(|present| present == bytes) {
            return Ok(());
        }
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&target, bytes).with_context(|| format!("cannot write {}", target.display()))
    }

    fn remove_all_but(&self, folder: &Path, files: &BTreeSet<PathBuf>) -> Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                self.remove_all_but(&path, files)?;
            } else if path.strip_prefix(&self.root).is_ok_and(|file| !files.contains(file)) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }
}

fn files() -> Result<BTreeSet<PathBuf>> {
    let mut git = Command::new("git");
    git.current_dir(shell::root());
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let names = shell::output_of(&mut git)?;
    Ok(names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect())
}
