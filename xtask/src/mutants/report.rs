//! Which catcher caught what, as tables.

use super::catcher::{Catcher, Verdict};
use super::list::Mutation;
use crate::table::Table;

/// One mutation and what became of it with each catcher.
pub(super) struct Row<'a> {
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

/// For docs/verification.md.
pub(super) fn markdown(rows: &[Row<'_>], catchers: &[&Catcher]) -> String {
    let names: Vec<&str> = catchers.iter().map(|catcher| catcher.name).collect();
    let mut text = format!("| mutation | breaks | {} |\n", names.join(" | "));
    text += &format!("|---|---|{}\n", "---|".repeat(names.len()));
    for row in rows {
        let Mutation { name, breaks, .. } = row.mutation;
        let verdicts: Vec<String> = row.verdicts.iter().map(Verdict::to_string).collect();
        text += &format!("| {name} | {breaks} | {} |\n", verdicts.join(" | "));
    }
    text
}

fn short(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Caught { took, .. } => format!("caught {:.1} s", took.as_secs_f64()),
        other => other.to_string(),
    }
}
