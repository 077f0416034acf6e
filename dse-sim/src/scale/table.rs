//! What was measured, as a table to read and as one for programs.

use std::fmt::Write as _;
use std::time::Duration;

use super::outcome::{Outcome, Step, Way};

/// One step, taken in one way by so many nodes.
#[derive(Clone, Debug)]
pub struct Row {
    /// How many nodes were there.
    pub nodes: usize,
    /// How news was spread.
    pub way: Way,
    /// What happened.
    pub step: Step,
    /// What it cost.
    pub outcome: Outcome,
}

/// Columns for a terminal.
pub fn text(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<16} {:<9} {:>12} {:>15} {:>10} {:>10} {:>10}\n",
        "step", "way", "messages", "bytes", "p50 ms", "p99 ms", "max ms"
    );
    for step in Step::ALL {
        for row in rows.iter().filter(|row| row.step == step) {
            let outcome = &row.outcome;
            let wait = |of| ms(outcome.percentile(of)).unwrap_or_else(|| "-".to_owned());
            let _ = writeln!(
                text,
                "{:<16} {:<9} {:>12} {:>15} {:>10} {:>10} {:>10}",
                step.name(),
                row.way.name(),
                outcome.messages,
                outcome.bytes,
                wait(50),
                wait(99),
                wait(100)
            );
        }
    }
    text
}

/// One line a row. What does not apply is empty.
pub fn csv(rows: &[Row]) -> String {
    let mut text = String::from(
        "nodes,step,way,messages,bytes,most_messages_of_a_node,most_bytes_of_a_node,\
         p50_ms,p99_ms,max_ms\n",
    );
    for Row { nodes, way, step, outcome } in rows {
        let wait = |of| ms(outcome.percentile(of)).unwrap_or_default();
        let _ = writeln!(
            text,
            "{nodes},{},{},{},{},{},{},{},{},{}",
            step.name(),
            way.name(),
            outcome.messages,
            outcome.bytes,
            outcome.most_messages,
            outcome.most_bytes,
            wait(50),
            wait(99),
            wait(100)
        );
    }
    text
}

fn ms(wait: Option<Duration>) -> Option<String> {
    wait.map(|wait| format!("{:.1}", wait.as_secs_f64() * 1e3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_csv_has_a_field_for_each_column() {
        let idle = Outcome::default();
        let waits = vec![Duration::from_millis(5)];
        let join = Outcome { messages: 7, bytes: 70, waits, ..idle.clone() };
        let row = |step, outcome| Row { nodes: 10, way: Way::Bus, step, outcome };
        let text = csv(&[row(Step::IdleHour, idle), row(Step::Join, join)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "10,idle hour,dse,0,0,0,0,,,");
        assert_eq!(lines[2], "10,join,dse,7,70,0,0,5.0,5.0,5.0");
        assert_eq!(lines[0].split(',').count(), lines[1].split(',').count());
    }
}
