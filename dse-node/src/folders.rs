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
    runtime: PathBuf,
    /// Where other nodes of this user may have theirs, if nothing says where they are.
    elsewhere: Vec<PathBuf>,
    /// Certificates, and what outlives a restart. None if there is no place for them.
    data: Option<PathBuf>,
}

impl Folders {
    /// The folders of this user, where none are given.
    pub fn choose(runtime: Option<PathBuf>, data: Option<PathBuf>) -> Self {
        let (runtime, elsewhere) = match runtime {
            Some(folder) => (folder, Vec::new()),
            None => {
                let uid = own_uid();
                let variable = absolute_from_env("XDG_RUNTIME_DIR");
                let session = PathBuf::from(format!("/run/user/{uid}"));
                runtimes(variable, session, PathBuf::from(format!("/tmp/dse-{uid}")))
            }
        };
        let data = data
            .or_else(|| Some(absolute_from_env("XDG_DATA_HOME")?.join("dse")))
            .or_else(|| Some(absolute_from_env("HOME")?.join(".local/share/dse")));
        Self { runtime, elsewhere, data }
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

    /// The folders of a bus, as far as they are there, in which nodes of this user are that
    /// chose another runtime folder by default.
    pub fn elsewhere_of(&self, bus: &BusId) -> Vec<PathBuf> {
        let private = |folder: &&PathBuf| check_private(folder).is_ok();
        let of_bus = |folder: &PathBuf| folder.join(folder_name(bus));
        let folders = self.elsewhere.iter().filter(private).map(of_bus);
        folders.filter(|folder| private(&folder)).collect()
    }

    /// The data folder of a bus, made if it is missing.
    ///
    /// # Errors
    /// There is no place for it, it cannot be made, or others could change what is in it.
    pub fn data_of(&self, bus: &BusId) -> Result<PathBuf> {
        let Some(data) = &self.data else {
            bail!("no folder to keep data in: set --data-dir or HOME");
        };
        private_folder(data)?;
        let folder = data.join(folder_name(bus));
        private_folder(&folder)?;
        Ok(folder)
    }
}

/// The runtime folder where nothing says it, and the others that it may be for other nodes
/// of this user: `cron`, `su` and services lack the variable that a session has, and the
/// session's folder is not there before somebody has logged in.
fn runtimes(
    variable: Option<PathBuf>,
    session: PathBuf,
    fallback: PathBuf,
) -> (PathBuf, Vec<PathBuf>) {
    let session = Some(session).filter(|folder| check_private(folder).is_ok());
    let mut folders: Vec<_> = variable.into_iter().chain(session).collect();
    folders.dedup();
    let mut folders =
        folders.into_iter().map(|folder| folder.join("dse")).chain([fallback.clone()]);
    (folders.next().unwrap_or(fallback), folders.collect())
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
        let folders = Folders::choose(Some(runtime.clone()), Some(temp.path().join("data")));
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
    fn the_session_s_folder_is_found_without_its_variable() {
        let temp = tempfile::tempdir().expect("temporary folder");
        let (session, fallback) = (temp.path().join("session"), temp.path().join("fallback"));
        let choose = |variable: Option<&Path>| {
            runtimes(variable.map(Path::to_owned), session.clone(), fallback.clone())
        };
        assert_eq!(choose(None), (fallback.clone(), vec![]), "nobody has logged in");

        fs::DirBuilder::new().mode(0o700).create(&session).expect("made");
        let of_session = session.join("dse");
        let both = (of_session.clone(), vec![fallback.clone()]);
        assert_eq!(choose(None), both);
        assert_eq!(choose(Some(&session)), both);
        let other = temp.path().join("other");
        let all = (other.join("dse"), vec![of_session, fallback.clone()]);
        assert_eq!(choose(Some(&other)), all);

        fs::set_permissions(&session, fs::Permissions::from_mode(0o755)).expect("set");
        assert_eq!(choose(None), (fallback.clone(), vec![]), "others can enter it");
    }

    #[test]
    fn a_link_is_no_private_folder() {
        let temp = tempfile::tempdir().expect("temporary folder");
        let link = temp.path().join("link");
        std::os::unix::fs::symlink(temp.path(), &link).expect("linked");
        assert!(check_private(&link).is_err());
    }
}
