//! `cargo xtask mutants`: deliberate bugs, one at a time, and who catches each.
//!
//! A test that never fails shows nothing. The lists in `xtask/mutations/` name bugs that
//! a tired mind could write; each must be caught by the tests, by random schedules or by the
//! exhaustive check. One that survives is a missing check.

mod catcher;
mod list;
mod report;
mod tree;

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};

use catcher::{CATCHERS, Catcher, Hunt, Verdict};
use list::{List, Mutation};
use report::Row;
use tree::Tree;

/// What is to be mutated, and who is to catch it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MutantsOptions {
    /// Only mutations with this text in their names, or those of the list with this name.
    pub(crate) only: Option<String>,
    /// Only this catcher.
    pub(crate) with: Option<String>,
    /// Every catcher is tried on every mutation, not only until one has caught it.
    pub(crate) matrix: bool,
    /// Where the result goes as docs/mutations.md has it.
    pub(crate) markdown: Option<PathBuf>,
}

/// Applies each mutation to a copy of the tree and sets the catchers on it. True when
/// all were caught.
///
/// # Errors
/// A mutation does not apply, or the tree fails without any.
pub(crate) fn run(options: &MutantsOptions) -> Result<bool> {
    let lists = chosen_lists(options.only.as_deref())?;
    let mutations: Vec<(&List, &Mutation)> =
        lists.iter().flat_map(|list| list.mutations.iter().map(move |one| (list, one))).collect();
    let catchers = chosen_catchers(options.with.as_deref())?;
    let tree = Tree::copy()?;
    let mut hunt = Hunt::new(&tree);
    let mut rows = Vec::new();
    for (number, (list, mutation)) in mutations.iter().copied().enumerate() {
        println!("\n[{}/{}] {}", number + 1, mutations.len(), mutation.name);
        // Before the edit, for what fails without it proves nothing.
        for catcher in &catchers {
            hunt.prepare(catcher, mutation)?;
        }
        let source = tree.apply(mutation)?;
        let verdicts = set_catchers_on(mutation, &catchers, &hunt, options.matrix);
        tree.restore(mutation, &source)?;
        rows.push(Row { list, mutation, verdicts: verdicts? });
    }
    let table = report::table(&rows, &catchers);
    println!("\n{table}");
    if let Some(path) = &options.markdown {
        std::fs::write(path, report::markdown(&rows, &catchers))?;
    }
    let survivors: Vec<&str> =
        rows.iter().filter(|row| !row.is_caught()).map(|row| row.mutation.name.as_str()).collect();
    println!("{} of {} mutations caught", rows.len() - survivors.len(), rows.len());
    for name in &survivors {
        println!("not caught: {name}");
    }
    Ok(survivors.is_empty())
}

fn chosen_lists(only: Option<&str>) -> Result<Vec<List>> {
    let mut lists = list::read()?;
    if let Some(text) = only {
        for list in &mut lists {
            let is_whole = list.name == text;
            list.mutations.retain(|mutation| is_whole || mutation.name.contains(text));
        }
        let found = lists.iter().any(|list| !list.mutations.is_empty());
        ensure!(found, "no mutation's name contains {text:?}, and no list is named so");
    }
    Ok(lists)
}

fn chosen_catchers(with: Option<&str>) -> Result<Vec<&'static Catcher>> {
    let chosen: Vec<&Catcher> =
        CATCHERS.iter().filter(|catcher| with.is_none_or(|with| with == catcher.name)).collect();
    if chosen.is_empty() {
        let names = CATCHERS.map(|catcher| catcher.name).join(", ");
        bail!("--with {}: use one of {names}", with.unwrap_or_default());
    }
    Ok(chosen)
}

fn set_catchers_on(
    mutation: &Mutation,
    catchers: &[&Catcher],
    hunt: &Hunt<'_>,
    matrix: bool,
) -> Result<Vec<Verdict>> {
    let mut verdicts = Vec::new();
    let mut caught = false;
    for catcher in catchers {
        let verdict =
            if caught && !matrix { Verdict::NotTried } else { hunt.set_on(catcher, mutation)? };
        if verdict != Verdict::NotTried {
            println!("    {}: {verdict}", catcher.name);
        }
        caught |= verdict.is_caught();
        verdicts.push(verdict);
    }
    Ok(verdicts)
}
