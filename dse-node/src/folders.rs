//! The two folders of a user: one for this boot (runtime), one that stays (data).

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use dse_core::protocol::BusId;

/// Where a node keeps what other processes of the same user may see.
#[derive(Clone, Debug)]
pub struct Folders {
    /// Endpoints of the nodes that run now.
    pub runtime: PathBuf,
    /// Certificates, and what outlives a restart.
    pub data: PathBuf,
}

impl Folders {
    /// The folders of this user, where none are given.
    ///
    /// # Errors
    /// There is no home folder to keep data in.
    pub fn choose(runtime: Option<PathBuf>, data: Option<PathBuf>) -> Result<Self> {
        let runtime = runtime.unwrap_or_else(|| match absolute_from_env("XDG_RUNTIME_DIR") {
            Some(folder) => folder.join("dse"),
            None => PathBuf::from(format!("/tmp/dse-{}", own_uid())),
        });
        let data = match data {
            Some(folder) => folder,
            None => match (absolute_from_env("XDG_DATA_HOME"), absolute_from_env("HOME")) {
                (Some(folder), _) => folder.join("dse"),
                (None, Some(home)) => home.join(".local/share/dse"),
                (None, None) => bail!("no folder to keep data in: set --data-dir or HOME"),
            },
        };
        Ok(Self { runtime, data })
    }

    /// The runtime folder of a bus, made if it is missing.
    ///
    /// # Errors
    /// It cannot be made, or others could change what is in it.
    pub fn runtime_of(&self, bus: &BusId) -> Result<PathBuf> {
        private_folder(&self.runtime)?;
        let folder = self.runtime.join(folder_name(bus));
        private_folder(&folder)?;
        Ok(folder)
    }

    /// The data folder of a bus, made if it is missing.
    ///
    /// # Errors
    /// It cannot be made, or others could change what is in it.
    pub fn data_of(&self, bus: &BusId) -> Result<PathBuf> {
        private_folder(&self.data)?;
        let folder = self.data.join(folder_name(bus));
        private_folder(&folder)?;
        Ok(folder)
    }
}

/// A bus may be called `..`, a folder may not: so the name gets an ending.
fn folder_name(bus: &BusId) -> String {
    format!("{bus}{FOLDER_ENDING}")
}

/// The bus that a folder of this name belongs to.
pub fn bus_of_folder(name: &str) -> Option<&str> {
    name.strip_suffix(FOLDER_ENDING)
}

const FOLDER_ENDING: &str = ".bus";

/// Makes a folder that only this user can enter, or checks that it is such.
fn private_folder(path: &Path) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)
            .with_context(|| format!("cannot make the folder {}", parent.display()))?;
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot make the folder {}", path.display()))
        }
        _ => check_private(path),
    }
}

/// Whoever can write into the folder can lead this user's nodes astray, so it must be the
/// user's own, and no link that somebody else may have laid.
fn check_private(path: &Path) -> Result<()> {
    let found = fs::symlink_metadata(path)
        .with_context(|| format!("cannot look at the folder {}", path.display()))?;
    let shown = path.display();
    if !found.is_dir() {
        bail!("{shown} is not a folder: remove it, or choose another folder");
    }
    if found.uid() != own_uid() {
        bail!("the folder {shown} belongs to another user (uid {}): choose another", found.uid());
    }
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        bail!("others can enter the folder {shown} (mode {mode:o}): run `chmod 700 {shown}`");
    }
    Ok(())
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Relative paths in these variables are to be ignored, says the XDG specification.
fn absolute_from_env(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_made_private_and_checked() {
        let temp = tempfile::tempdir().expect("temporary folder");
        let runtime = temp.path().join("a/run");
        let folders = Folders::choose(Some(runtime.clone()), Some(temp.path().join("data")))
            .expect("both are given");
        let dots = BusId::new("..").expect("a valid bus id");
        let folder = folders.runtime_of(&dots).expect("made");
        assert_eq!(folder.parent(), Some(&*runtime));
        let mode = fs::metadata(&folder).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);

        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("set");
        let refused = folders.runtime_of(&dots).expect_err("others can enter").to_string();
        assert!(refused.contains("chmod 700"), "{refused}");
    }

    #[test]
    fn a_link_is_no_private_folder() {
        let temp = tempfile::tempdir().expect("temporary folder");
        let link = temp.path().join("link");
        std::os::unix::fs::symlink(temp.path(), &link).expect("linked");
        assert!(check_private(&link).is_err());
    }
}
