//! What came of the rounds.

use std::fmt::Write;

use serde_json::{Value, json};

use super::round::{Phase, Round};
use crate::figures::{Spread, ratio};
use crate::job::Transport;

/// All rounds over one transport.
pub(super) struct Figures {
    pub(super) transport: Transport,
    pub(super) rounds: Vec<Round>,
}

impl Figures {
    /// Did the publisher's memory keep its bound, and was B told of its gap and went on?
    pub(super) fn held(&self) -> bool {
        self.grown_bytes() <= GROWN_BYTES_MAX && self.rounds.iter().all(|it| it.back.is_some())
    }

    pub(super) fn json(&self) -> Value {
        let rounds = self.rounds.iter().map(|it| {
            json!({
                "alone": phase(&it.alone),
                "both": phase(&it.both),
                "stopped": phase(&it.stopped),
                "published_bytes": it.published_bytes,
                "grown_bytes": it.grown_bytes,
                "back_ms": it.back.map(|back| back.as_secs_f64() * 1e3),
                "lost_by_a": it.lost_by_a,
            })
        });
        json!({
            "transport": self.transport.to_string(),
            "stopped_to_alone": self.to_alone().json(),
            "stopped_to_both": self.to_both().json(),
            "cpu_stopped_to_alone": self.cpu_to_alone().json(),
            "grown_bytes": self.grown_bytes(),
            "held": self.held(),
            "rounds": rounds.collect::<Vec<_>>(),
        })
    }

    fn to_alone(&self) -> Spread {
        Spread::of(self.rounds.iter().map(|it| ratio(it.stopped.per_s, it.alone.per_s)))
    }

    fn to_both(&self) -> Spread {
        Spread::of(self.rounds.iter().map(|it| ratio(it.stopped.per_s, it.both.per_s)))
    }

    fn cpu_to_alone(&self) -> Spread {
        Spread::of(self.rounds.iter().map(|it| ratio(it.stopped.cpu_us, it.alone.cpu_us)))
    }

    fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        Spread::of(self.rounds.iter().map(of)).median
    }

    fn grown_bytes(&self) -> u64 {
        self.rounds.iter().map(|it| it.grown_bytes).max().unwrap_or(0)
    }
}

fn phase(phase: &Phase) -> Value {
    json!({ "per_s": phase.per_s, "cpu_us": phase.cpu_us })
}

/// A line for each transport, and what each round of it found.
pub(super) fn table(figures: &[Figures]) -> String {
    let mut text = format!(
        "samples of 64 KiB a second at A: alone, beside B, beside a stopped B; the CPU time of\n\
         publisher and A for each: stopped / alone\n\n\
         {:<5} {:>7} {:>7} {:>8}  {:<27} {:<27} {:<22} {:>8} {:>6}  B is back\n",
        "",
        "alone",
        "both",
        "stopped",
        "stopped / alone",
        "stopped / both",
        "CPU",
        "RSS +MiB",
        "A lost"
    );
    for it in figures {
        let told = match it.rounds.iter().all(|round| round.back.is_some()) {
            true => {
                let ms = it.median(|round| round.back.map_or(0.0, |it| it.as_secs_f64() * 1e3));
                format!("told of its gap, after {ms:.0} ms")
            }
            false => "NOT TOLD of its gap, or gets nothing".to_owned(),
        };
        let lost: u64 = it.rounds.iter().map(|round| round.lost_by_a).sum();
        // A string takes whatever is written.
        let _ = writeln!(
            text,
            "{:<5} {:>7.0} {:>7.0} {:>8.0}  {:<27} {:<27} {:<22} {:>8} {:>6}  {told}",
            it.transport.to_string(),
            it.median(|round| round.alone.per_s),
            it.median(|round| round.both.per_s),
            it.median(|round| round.stopped.per_s),
            judged(&it.to_alone()),
            judged(&it.to_both()),
            it.cpu_to_alone().to_string(),
            bounded(it.grown_bytes()),
            lost,
        );
    }
    text
}

fn judged(ratio: &Spread) -> String {
    format!("{ratio} {}", if ratio.median >= RATIO_MIN { "ok" } else { "MISSED" })
}

fn bounded(grown: u64) -> String {
    let over = if grown > GROWN_BYTES_MAX { " MISSED" } else { "" };
    format!("{:.1}{over}", grown as f64 / f64::from(1 << 20))
}

/// By how much a publisher's memory may grow for a stopped subscriber.
const GROWN_BYTES_MAX: u64 = 64 << 20;
/// How much of its rate a subscriber keeps beside a stopped one.
const RATIO_MIN: f64 = 0.9;
