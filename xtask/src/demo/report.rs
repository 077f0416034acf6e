//! What came of the demo, for people and as JSON.

use std::time::Duration;

use serde_json::{Value, json};

use super::story::CRASH_KNOWN_MS;
use crate::table::{Table, grouped};

/// What came of one step.
#[derive(Clone, Debug)]
pub(super) struct StepReport {
    pub(super) name: &'static str,
    pub(super) ok: bool,
    /// What the step measures: a join, a detection, an answer.
    pub(super) ms: u64,
    pub(super) control_messages: u64,
    pub(super) control_bytes: u64,
    /// How long the step took in all, until the bus was still again.
    pub(super) took: Duration,
}

/// What the bus costs in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Total {
    pub(super) control_messages: u64,
    pub(super) control_bytes: u64,
}

impl Total {
    pub(super) fn of(steps: &[StepReport]) -> Self {
        Self {
            control_messages: steps.iter().map(|step| step.control_messages).sum(),
            control_bytes: steps.iter().map(|step| step.control_bytes).sum(),
        }
    }
}

/// One run of the demo beside one run of the periodic broadcast.
pub(super) struct Report {
    pub(super) transport: String,
    pub(super) nodes: usize,
    pub(super) steps: Vec<StepReport>,
    pub(super) baseline: Vec<StepReport>,
}

impl Report {
    /// Did every step hold, in both runs?
    pub(super) fn held(&self) -> bool {
        !self.steps.is_empty() && self.steps.iter().chain(&self.baseline).all(|step| step.ok)
    }

    /// The report as `--json` writes it.
    pub(super) fn json(&self) -> Value {
        let step = |step: &StepReport| {
            json!({
                "name": step.name,
                "ok": step.ok,
                "ms": step.ms,
                "control_messages": step.control_messages,
                "control_bytes": step.control_bytes,
            })
        };
        let baseline = Total::of(&self.baseline);
        json!({
            "transport": self.transport,
            "nodes": self.nodes,
            "steps": self.steps.iter().map(step).collect::<Vec<_>>(),
            "baseline": {
                "control_messages": baseline.control_messages,
                "control_bytes": baseline.control_bytes,
            },
        })
    }

    /// The report as the terminal shows it.
    pub(super) fn text(&self) -> String {
        let mut table = Table::new([
            "step",
            "",
            "measured",
            "messages",
            "bytes",
            "periodic msgs",
            "periodic bytes",
        ]);
        for (number, step) in self.steps.iter().enumerate() {
            let baseline = self.baseline.get(number);
            table.row([
                step.name.to_owned(),
                if step.ok { "ok".to_owned() } else { "FAILED".to_owned() },
                format!("{} ms", grouped(step.ms)),
                grouped(step.control_messages),
                grouped(step.control_bytes),
                baseline.map_or_else(String::new, |step| grouped(step.control_messages)),
                baseline.map_or_else(String::new, |step| grouped(step.control_bytes)),
            ]);
        }
        let (own, periodic) = (Total::of(&self.steps), Total::of(&self.baseline));
        table.row([
            "total".to_owned(),
            String::new(),
            String::new(),
            grouped(own.control_messages),
            grouped(own.control_bytes),
            grouped(periodic.control_messages),
            grouped(periodic.control_bytes),
        ]);
        format!("{table}\n{}", self.headlines())
    }

    fn headlines(&self) -> String {
        let measured = |name: &str| {
            let step = self.steps.iter().find(|step| step.name == name && step.ok);
            step.map_or_else(
                || "not measured".to_owned(),
                |step| format!("{} ms", grouped(step.ms)),
            )
        };
        format!(
            "{} nodes over {}\n\
             cold start, all know all      {}\n\
             change known to everyone      {}\n\
             late joiner has present state {}\n\
             crash known to everyone       {} (promised: {} ms)\n",
            self.nodes,
            self.transport,
            measured("discover"),
            measured("change"),
            measured("late"),
            measured("crash"),
            grouped(CRASH_KNOWN_MS),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &'static str, ok: bool, control_messages: u64) -> StepReport {
        let took = Duration::from_secs(1);
        StepReport { name, ok, ms: 12, control_messages, control_bytes: 100, took }
    }

    fn report(ok: bool) -> Report {
        Report {
            transport: "quic".to_owned(),
            nodes: 6,
            steps: vec![step("discover", true, 60), step("idle", ok, 0)],
            baseline: vec![step("discover", true, 70), step("idle", true, 300)],
        }
    }

    #[test]
    fn json_has_the_promised_shape() {
        let expected = json!({
            "transport": "quic",
            "nodes": 6,
            "steps": [
                {"name": "discover", "ok": true, "ms": 12, "control_messages": 60, "control_bytes": 100},
                {"name": "idle", "ok": true, "ms": 12, "control_messages": 0, "control_bytes": 100},
            ],
            "baseline": {"control_messages": 370, "control_bytes": 200},
        });
        assert_eq!(report(true).json(), expected);
    }

    #[test]
    fn one_failed_step_fails_the_demo() {
        assert!(report(true).held());
        assert!(!report(false).held());
    }

    #[test]
    fn table_stands_beside_the_baseline_and_adds_up() {
        let text = report(true).text();
        assert!(text.contains("periodic msgs"), "{text}");
        let total = text.lines().find(|line| line.starts_with("total"));
        assert!(total.is_some_and(|line| line.contains("60") && line.contains("370")), "{text}");
        assert!(text.contains("change known to everyone      not measured"), "{text}");
    }
}
