//! Who plays in the demo, and what each node is configured to do.

use std::path::Path;

/// The nodes of the first act, in the order in which they start. The late one comes
/// after them: with it there are as many as asked for.
pub(super) fn first_act(nodes: usize) -> Vec<String> {
    let sites = (1..=nodes.saturating_sub(4)).map(|number| format!("site-{number}"));
    [MACHINE, LOGS, BOARD].map(str::to_owned).into_iter().chain(sites).collect()
}

/// The configuration file of a node.
pub(super) fn config(name: &str, log: &Path) -> String {
    match name {
        MACHINE => source("kind = \"system\"\nkey = \"host/{node}\"\nevery = \"1s\""),
        LOGS => source(&format!(
            "kind = \"file\"\nkey = \"{LOG_KEY}\"\nevery = \"100ms\"\npath = '{}'",
            log.display()
        )),
        BOARD => SINK.to_owned(),
        LATE => format!("{SINK}{}", values()),
        _ => values(),
    }
}

/// The keys that a node is known to declare before it has looked at anything.
pub(super) fn keys(name: &str) -> Vec<String> {
    match name {
        MACHINE | BOARD => Vec::new(),
        LOGS => vec![LOG_KEY.to_owned()],
        _ => ["name", "floor"].map(|value| format!("site/{name}/{value}")).to_vec(),
    }
}

fn values() -> String {
    let name = source("kind = \"value\"\nkey = \"site/{node}/name\"\nvalue = \"Hall 7\"");
    name + &source("kind = \"value\"\nkey = \"site/{node}/floor\"\nvalue = 2")
}

fn source(lines: &str) -> String {
    format!("[[source]]\n{lines}\n\n")
}

/// Publishes this machine's load, memory, disks and network.
pub(super) const MACHINE: &str = "machine";
/// Publishes the lines of a growing file.
pub(super) const LOGS: &str = "logs";
/// Subscribes to everything.
pub(super) const BOARD: &str = "board";
/// Is killed and comes back.
pub(super) const VICTIM: &str = "site-1";
/// Comes when the others have been talking for a while.
pub(super) const LATE: &str = "late";
/// Where the lines of the growing file appear.
pub(super) const LOG_KEY: &str = "logs/app";

const SINK: &str = "[[sink]]\nkind = \"stdout\"\nkeys = \"**\"\n\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_late_node_makes_the_number_whole() {
        assert_eq!(first_act(5), [MACHINE, LOGS, BOARD, VICTIM]);
        assert_eq!(first_act(8).len(), 7);
    }

    #[test]
    fn every_source_of_values_is_in_its_keys() {
        assert_eq!(keys(VICTIM), ["site/site-1/name", "site/site-1/floor"]);
        assert_eq!(config(VICTIM, Path::new("x")).matches("[[source]]").count(), 2);
    }
}
