//! Which catcher caught what, as tables.

use super::catcher::{Catcher, Verdict};
use super::list::{List, Mutation};
use crate::table::Table;

/// One mutation and what became of it with each catcher.
pub(super) struct Row<'a> {
    pub(super) list: &'a List,
    pub(super) mutation: &'a Mutation,
    pub(super) verdicts: Vec<Verdict>,
}

impl Row<'_> {
    pub(super) fn is_caught(&self) -> bool {
        self.verdicts.iter().any(Verdict::is_caught)
    }
}

/// For the terminal.
pub(super) fn table(rows: &[Row<'_>], catchers: &[&Catcher]) -> Table {
    let heads = ["mutation"].into_iter().chain(catchers.iter().map(|catcher| catcher.name));
    let mut table = Table::new(heads);
    for row in rows {
        let cells = row.verdicts.iter().map(short);
        table.row([row.mutation.name.clone()].into_iter().chain(cells));
    }
    table
}

/// docs/mutations.md, whole.
pub(super) fn markdown(rows: &[Row<'_>], catchers: &[&Catcher]) -> String {
    let mut text = HEAD.to_owned();
    text += "\n| set on | planted bugs | caught |\n|---|---|---|\n";
    for (place, catcher) in catchers.iter().enumerate() {
        let verdicts = rows.iter().map(|row| &row.verdicts[place]);
        let tried = verdicts.clone().filter(|verdict| **verdict != Verdict::NotTried).count();
        let caught = verdicts.filter(|verdict| verdict.is_caught()).count();
        text += &format!("| {} | {tried} | {caught} |\n", catcher.name);
    }
    let caught = rows.iter().filter(|row| row.is_caught()).count();
    text += &format!("| any of them | {} | {caught} |\n", rows.len());
    let names: Vec<&str> = catchers.iter().map(|catcher| catcher.name).collect();
    for section in rows.chunk_by(|one, next| one.list.name == next.list.name) {
        let List { name, about, .. } = section[0].list;
        text += &format!("\n## {name}\n\n{about}\n\n");
        text += &format!("| planted bug | breaks | {} |\n", names.join(" | "));
        text += &format!("|---|---|{}\n", "---|".repeat(names.len()));
        for row in section {
            let Mutation { name, breaks, .. } = row.mutation;
            let cells: Vec<String> = row.verdicts.iter().map(long).collect();
            text += &format!("| {name} | {breaks} | {} |\n", cells.join(" | "));
        }
    }
    text
}

/// Without times, which are of no machine but the one that took them.
fn long(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Caught { by, .. } => {
            let by: String = by.chars().take(MOST_SHOWN).collect();
            format!("`{}`", by.replace('|', "/").replace('`', "'"))
        }
        Verdict::Hung => "it comes to no end".to_owned(),
        Verdict::Survived { .. } => "**survived**".to_owned(),
        Verdict::Unbuildable { .. } => "**does not compile**".to_owned(),
        Verdict::NotTried => "-".to_owned(),
    }
}

fn short(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Caught { took, .. } => format!("caught {:.1} s", took.as_secs_f64()),
        Verdict::Unbuildable { .. } => "DOES NOT COMPILE".to_owned(),
        other => other.to_string(),
    }
}

const HEAD: &str = "\
# Who catches which planted bug

Written by `cargo xtask mutants --matrix --markdown docs/mutations.md`, which plants the bugs of
`xtask/mutations/` one at a time in a copy of the tree and sets its catchers on each
([verification.md](verification.md#planted-bugs-cargo-xtask-mutants)). Here is what each was
caught by: of the tests the first that failed by name, and how many more did; the seed that
failed, or the small world, and what was found there. A `-` is where the catcher does not look
at such files, or, without `--matrix`, where another had caught the bug.
";
/// How much of what a catcher says is shown.
const MOST_SHOWN: usize = 100;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::catcher::CATCHERS;
    use super::*;

    #[test]
    fn the_document_has_a_section_for_each_list_and_counts() {
        let mutation = || Mutation {
            name: "x".into(),
            breaks: "L1".into(),
            file: "a.rs".into(),
            old: "a".into(),
            new: "b".into(),
        };
        let list = |name: &str| List {
            name: name.into(),
            about: format!("Bugs of {name}."),
            mutations: vec![mutation()],
        };
        let lists = [list("one.toml"), list("two.toml")];
        let took = Duration::from_secs(1);
        let caught = Verdict::Caught { by: "a|b".into(), took };
        let verdicts =
            [vec![caught, Verdict::NotTried], vec![Verdict::Survived { took }, Verdict::Hung]];
        let rows: Vec<Row<'_>> = (lists.iter().zip(verdicts))
            .map(|(list, verdicts)| Row { list, mutation: &list.mutations[0], verdicts })
            .collect();
        let text = markdown(&rows, &[&CATCHERS[0], &CATCHERS[1]]);
        let body = text.strip_prefix(HEAD).expect("the head first");
        let expected = "
| set on | planted bugs | caught |
|---|---|---|
| tests | 2 | 1 |
| sim | 1 | 1 |
| any of them | 2 | 2 |

## one.toml

Bugs of one.toml.

| planted bug | breaks | tests | sim |
|---|---|---|---|
| x | L1 | `a/b` | - |

## two.toml

Bugs of two.toml.

| planted bug | breaks | tests | sim |
|---|---|---|---|
| x | L1 | **survived** | it comes to no end |
";
        assert_eq!(body, expected);
    }
}
