//! What was measured, as a table to read and as one for programs.

use std::fmt::Write as _;
use std::time::Duration;

use super::outcome::{Outcome, Step, Way};

/// One step, taken in one way by so many nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// How many nodes were there.
    pub nodes: usize,
    /// How news was spread.
    pub way: Way,
    /// What happened.
    pub step: Step,
    /// Messages sent by all nodes.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages and bytes of the node that sent most.
    pub most: (u64, u64),
    /// Within how many milliseconds 50, 99 and 100 of a hundred nodes knew.
    pub waits_ms: [Option<f64>; 3],
}

impl Row {
    pub(super) fn new(nodes: usize, way: Way, step: Step, outcome: &Outcome) -> Self {
        let wait = |of| outcome.percentile(of).map(ms);
        Self {
            nodes,
            way,
            step,
            messages: outcome.messages,
            bytes: outcome.bytes,
            most: (outcome.most_messages, outcome.most_bytes),
            waits_ms: [50, 99, 100].map(wait),
        }
    }

    /// A line of [`csv`].
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split(',').collect();
        let [nodes, step, way, messages, bytes, most, most_bytes, waits @ ..] = &fields[..] else {
            return None;
        };
        let mut waits_ms = [None; 3];
        if waits.len() != waits_ms.len() {
            return None;
        }
        for (wait, text) in waits_ms.iter_mut().zip(waits) {
            *wait = if text.is_empty() { None } else { Some(text.parse().ok()?) };
        }
        Some(Self {
            nodes: nodes.parse().ok()?,
            way: Way::ALL.into_iter().find(|known| known.name() == *way)?,
            step: Step::ALL.into_iter().find(|known| known.name() == *step)?,
            messages: messages.parse().ok()?,
            bytes: bytes.parse().ok()?,
            most: (most.parse().ok()?, most_bytes.parse().ok()?),
            waits_ms,
        })
    }
}

/// Columns for a terminal.
pub fn text(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<16} {:<9} {:>12} {:>15} {:>10} {:>10} {:>10}\n",
        "step", "way", "messages", "bytes", "p50 ms", "p99 ms", "max ms"
    );
    for step in Step::ALL {
        for row in rows.iter().filter(|row| row.step == step) {
            let waits = row.waits_ms.map(|wait| shown(wait).unwrap_or_else(|| "-".to_owned()));
            let _ = writeln!(
                text,
                "{:<16} {:<9} {:>12} {:>15} {:>10} {:>10} {:>10}",
                step.name(),
                row.way.name(),
                row.messages,
                row.bytes,
                waits[0],
                waits[1],
                waits[2]
            );
        }
    }
    text
}

/// One line a row, under a head. What does not apply is empty.
pub fn csv(rows: &[Row]) -> String {
    let mut text = format!("{HEAD}\n");
    for row in rows {
        let waits = row.waits_ms.map(|wait| shown(wait).unwrap_or_default());
        let _ = writeln!(
            text,
            "{},{},{},{},{},{},{},{}",
            row.nodes,
            row.step.name(),
            row.way.name(),
            row.messages,
            row.bytes,
            row.most.0,
            row.most.1,
            waits.join(",")
        );
    }
    text
}

/// The rows that an earlier run wrote down.
///
/// # Errors
/// Names the line that is none of [`csv`].
pub fn read_csv(text: &str) -> Result<Vec<Row>, String> {
    let mut lines = text.lines();
    if lines.next() != Some(HEAD) {
        return Err(format!("the first line is not {HEAD}"));
    }
    let row = |line: &str| Row::parse(line).ok_or_else(|| format!("not a row: {line}"));
    lines.map(row).collect()
}

fn ms(wait: Duration) -> f64 {
    wait.as_secs_f64() * 1e3
}

fn shown(wait: Option<f64>) -> Option<String> {
    wait.map(|wait| format!("{wait:.1}"))
}

const HEAD: &str = "nodes,step,way,messages,bytes,most_messages_of_a_node,most_bytes_of_a_node,\
                    p50_ms,p99_ms,max_ms";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let idle = Outcome::default();
        let waits = vec![Duration::from_millis(5)];
        let join = Outcome { messages: 7, bytes: 70, waits, ..idle.clone() };
        let row = |step, outcome| Row::new(10, Way::Bus, step, outcome);
        let rows = vec![row(Step::IdleHour, &idle), row(Step::Join, &join)];
        let text = csv(&rows);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1..], ["10,idle hour,dse,0,0,0,0,,,", "10,join,dse,7,70,0,0,5.0,5.0,5.0"]);
        assert_eq!(read_csv(&text), Ok(rows));
    }

    #[test]
    fn a_line_that_is_no_row_is_named() {
        let text = format!("{HEAD}\n10,lunch,dse,0,0,0,0,,,\n");
        assert_eq!(read_csv(&text), Err("not a row: 10,lunch,dse,0,0,0,0,,,".to_owned()));
        assert!(read_csv("a,b\n").is_err_and(|error| error.contains("the first line is not")));
    }
}
