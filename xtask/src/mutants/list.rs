//! The lists of mutations, and that they still fit the sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::shell;

/// One list: deliberate bugs of one part of the protocol.
#[derive(Debug)]
pub(super) struct List {
    /// Its file's name.
    pub(super) name: String,
    /// What it says of itself, in the comment that it begins with.
    pub(super) about: String,
    pub(super) mutations: Vec<Mutation>,
}

/// One deliberate bug: one edit of one file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mutation {
    /// What the mutated code does.
    pub(super) name: String,
    /// The rule that this breaks; `§` is a section of PROTOCOL.md, `L` a law.
    pub(super) breaks: String,
    /// The file, from the root of the workspace.
    pub(super) file: String,
    /// The text that is replaced. It occurs exactly once in the file.
    pub(super) old: String,
    /// The text in its place.
    pub(super) new: String,
}

impl Mutation {
    /// The mutated source.
    ///
    /// # Errors
    /// The old text does not occur exactly once.
    pub(super) fn edit(&self, source: &str) -> Result<String> {
        let found = source.matches(&self.old).count();
        ensure!(
            found == 1,
            "mutation {:?}: its old text occurs {found} times in {}, not once; correct it in {FOLDER}",
            self.name,
            self.file
        );
        Ok(source.replacen(&self.old, &self.new, 1))
    }
}

/// All lists, in the order of their names.
///
/// # Errors
/// A list cannot be read, or two mutations have one name.
pub(super) fn read() -> Result<Vec<List>> {
    let folder = shell::root().join(FOLDER);
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot list {FOLDER}"))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    let lists = paths.iter().map(|path| read_list(path)).collect::<Result<Vec<_>>>()?;
    let mut names = BTreeSet::new();
    for Mutation { name, .. } in lists.iter().flat_map(|list| &list.mutations) {
        ensure!(names.insert(name), "two mutations are named {name:?}");
    }
    Ok(lists)
}

fn read_list(path: &Path) -> Result<List> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Content {
        mutation: Vec<Mutation>,
    }
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let content: Content =
        toml::from_str(&text).with_context(|| format!("{} is malformed", path.display()))?;
    let comment = text.lines().map_while(|line| line.strip_prefix("# "));
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(List { name, about: comment.collect::<Vec<_>>().join(" "), mutations: content.mutation })
}

const FOLDER: &str = "xtask/mutations";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutation_still_applies() -> Result<()> {
        let lists = read()?;
        let mutations: Vec<&Mutation> = lists.iter().flat_map(|list| &list.mutations).collect();
        assert!(mutations.len() >= 25, "{} mutations are too few", mutations.len());
        let misfits: Vec<String> = mutations.into_iter().filter_map(misfit).collect();
        assert!(misfits.is_empty(), "{}", misfits.join("\n"));
        Ok(())
    }

    fn misfit(mutation: &Mutation) -> Option<String> {
        match fs::read_to_string(shell::root().join(&mutation.file)) {
            Err(error) => {
                Some(format!("{:?}: cannot read {}: {error}", mutation.name, mutation.file))
            }
            Ok(source) => match mutation.edit(&source) {
                Err(error) => Some(error.to_string()),
                Ok(edited) => {
                    (edited == source).then(|| format!("{:?} changes nothing", mutation.name))
                }
            },
        }
    }

    #[test]
    fn an_edit_that_fits_twice_or_never_is_an_error() {
        let mutation = |old: &str| Mutation {
            name: "x".into(),
            breaks: "L1".into(),
            file: "a.rs".into(),
            old: old.into(),
            new: "c".into(),
        };
        assert_eq!(mutation("b").edit("a b").ok().as_deref(), Some("a c"));
        assert!(mutation("b").edit("a").is_err());
        assert!(mutation("b").edit("b b").is_err());
    }
}
