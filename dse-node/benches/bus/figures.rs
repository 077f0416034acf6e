//! Counting in the processes, and the table and JSON of all figures.

use std::fmt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::job::{Ends, Job, Measure, Transport};

/// Counts what arrives, from the first on.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    received: u64,
    /// What came at once with the first: its time is not known.
    first: Option<(Instant, u64)>,
    last: Option<Instant>,
}

impl Arrivals {
    /// So many came just now.
    pub(crate) fn add(&mut self, count: u64) {
        if count == 0 {
            return;
        }
        let now = Instant::now();
        self.received += count;
        self.first.get_or_insert((now, count));
        self.last = Some(now);
    }

    /// How many came, and how many in a second.
    pub(crate) fn json(&self, job: &Job) -> Value {
        let (first, at_once) = self.first.unwrap_or((Instant::now(), 0));
        let seconds = self.last.map_or(0.0, |last| (last - first).as_secs_f64());
        let per_second =
            if seconds > 0.0 { (self.received - at_once) as f64 / seconds } else { 0.0 };
        let payload = match job.measure {
            Measure::Throughput { payload } => payload,
            Measure::RoundTrip => 0,
        };
        json!({
            "received": self.received,
            "per_s": per_second,
            "mb_per_s": per_second * payload as f64 / 1e6,
        })
    }
}

/// Collects round trips, after as many that only warm up.
#[derive(Debug)]
pub(crate) struct RoundTrips {
    until: Instant,
    skip: usize,
    trips: Vec<Duration>,
}

impl RoundTrips {
    /// For this long.
    pub(crate) fn new(time: Duration) -> Self {
        Self { until: Instant::now() + time, skip: 500, trips: Vec::new() }
    }

    /// Is there time for another one?
    pub(crate) fn more(&self) -> bool {
        self.trips.is_empty() || Instant::now() < self.until
    }

    /// One took so long.
    pub(crate) fn add(&mut self, trip: Duration) {
        match self.skip.checked_sub(1) {
            Some(left) => self.skip = left,
            None => self.trips.push(trip),
        }
    }

    /// Median and 99th percentile, in microseconds.
    pub(crate) fn json(mut self) -> Value {
        self.trips.sort_unstable();
        let at = |share: f64| {
            let place = (self.trips.len().saturating_sub(1)) as f64 * share;
            self.trips.get(place as usize).map_or(0.0, |trip| trip.as_secs_f64() * 1e6)
        };
        json!({ "trips": self.trips.len(), "p50_us": at(0.5), "p99_us": at(0.99) })
    }
}

/// All that was measured.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    throughput: Vec<Throughput>,
    round_trips: Vec<RoundTrip>,
}

/// What both ends found in one turn: of the bus, and right before it of the bare transport.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) bus: Value,
    pub(crate) bare: Value,
}

#[derive(Debug)]
struct Throughput {
    transport: Transport,
    ends: Ends,
    payload: usize,
    per_s: f64,
    mb_per_s: f64,
    lost: u64,
    bare_per_s: f64,
    bare_mb_per_s: f64,
    ratio: Spread,
}

#[derive(Debug)]
struct RoundTrip {
    transport: Transport,
    ends: Ends,
    p50_us: f64,
    p99_us: f64,
    bare_p50_us: f64,
    bare_p99_us: f64,
    ratio: Spread,
}

/// How one thing compares with another, turn by turn: the bus with the bare transport.
#[derive(Debug)]
pub(crate) struct Spread {
    least: f64,
    pub(crate) median: f64,
    most: f64,
}

impl Figures {
    /// Adds what was measured of one transport in several turns.
    pub(crate) fn add(
        &mut self,
        transport: Transport,
        ends: Ends,
        measure: Measure,
        turns: &[Turn],
    ) {
        let bus = |field| median(turns, |turn| number(&turn.bus, field));
        let bare = |field| median(turns, |turn| number(&turn.bare, field));
        let compare =
            |turn: &Turn, field| ratio(number(&turn.bus, field), number(&turn.bare, field));
        let compared = |field| Spread::of(turns.iter().map(|turn| compare(turn, field)));
        match measure {
            Measure::Throughput { payload } => self.throughput.push(Throughput {
                transport,
                ends,
                payload,
                per_s: bus("per_s"),
                mb_per_s: bus("mb_per_s"),
                lost: turns.iter().map(|turn| lost(&turn.bus)).sum(),
                bare_per_s: bare("per_s"),
                bare_mb_per_s: bare("mb_per_s"),
                ratio: compared("per_s"),
            }),
            Measure::RoundTrip => self.round_trips.push(RoundTrip {
                transport,
                ends,
                p50_us: bus("p50_us"),
                p99_us: bus("p99_us"),
                bare_p50_us: bare("p50_us"),
                bare_p99_us: bare("p99_us"),
                ratio: compared("p50_us"),
            }),
        }
    }

    /// How many samples were lost in all.
    pub(crate) fn lost(&self) -> u64 {
        self.throughput.iter().map(|figure| figure.lost).sum()
    }

    pub(crate) fn json(&self) -> Value {
        let throughput = self.throughput.iter().map(|it| {
            json!({
                "transport": it.transport.to_string(),
                "ends": it.ends.to_string(),
                "payload_bytes": it.payload,
                "samples_per_s": it.per_s,
                "mb_per_s": it.mb_per_s,
                "lost": it.lost,
                "bare_messages_per_s": it.bare_per_s,
                "bare_mb_per_s": it.bare_mb_per_s,
                "ratio": it.ratio.json(),
            })
        });
        let round_trip = self.round_trips.iter().map(|it| {
            json!({
                "transport": it.transport.to_string(),
                "ends": it.ends.to_string(),
                "p50_us": it.p50_us,
                "p99_us": it.p99_us,
                "bare_p50_us": it.bare_p50_us,
                "bare_p99_us": it.bare_p99_us,
                "ratio_p50": it.ratio.json(),
            })
        });
        json!({
            "throughput": throughput.collect::<Vec<_>>(),
            "round_trip": round_trip.collect::<Vec<_>>(),
        })
    }
}

impl Spread {
    /// Of these ratios, or whatever numbers.
    pub(crate) fn of(ratios: impl IntoIterator<Item = f64>) -> Self {
        let ratios = sorted(ratios);
        Self {
            least: ratios.first().copied().unwrap_or(0.0),
            median: middle(&ratios),
            most: ratios.last().copied().unwrap_or(0.0),
        }
    }

    pub(crate) fn json(&self) -> Value {
        json!({ "median": self.median, "least": self.least, "most": self.most })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6.2} ({:.2} to {:.2})", self.median, self.least, self.most)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "1 publisher to 1 subscriber, reliable (Block)\n")?;
        writeln!(
            f,
            "{:<5} {:<11} {:>7} {:>11} {:>8} {:>5} {:>11} {:>8}  bus / bare",
            "", "ends", "bytes", "samples/s", "MB/s", "lost", "bare msgs/s", "MB/s"
        )?;
        for it in &self.throughput {
            writeln!(
                f,
                "{:<5} {:<11} {:>7} {:>11.0} {:>8.1} {:>5} {:>11.0} {:>8.1} {}",
                it.transport.to_string(),
                it.ends.to_string(),
                it.payload,
                it.per_s,
                it.mb_per_s,
                it.lost,
                it.bare_per_s,
                it.bare_mb_per_s,
                it.ratio,
            )?;
        }
        writeln!(f, "\nround trip of 64 bytes, in microseconds\n")?;
        writeln!(
            f,
            "{:<5} {:<11} {:>8} {:>8} {:>9} {:>9}  bus / bare, p50",
            "", "ends", "p50", "p99", "bare p50", "bare p99"
        )?;
        for it in &self.round_trips {
            writeln!(
                f,
                "{:<5} {:<11} {:>8.2} {:>8.2} {:>9.2} {:>9.2} {}",
                it.transport.to_string(),
                it.ends.to_string(),
                it.p50_us,
                it.p99_us,
                it.bare_p50_us,
                it.bare_p99_us,
                it.ratio,
            )?;
        }
        Ok(())
    }
}

/// What was sent and did not come, or was reported as a gap.
fn lost(bus: &Value) -> u64 {
    let counted = |field: &str| bus[field].as_u64().unwrap_or(0);
    counted("sent").abs_diff(counted("received")).max(counted("gaps"))
}

fn number(found: &Value, field: &str) -> f64 {
    found[field].as_f64().unwrap_or(0.0)
}

pub(crate) fn ratio(ours: f64, theirs: f64) -> f64 {
    if theirs > 0.0 { ours / theirs } else { 0.0 }
}

fn median(turns: &[Turn], of: impl Fn(&Turn) -> f64) -> f64 {
    middle(&sorted(turns.iter().map(of)))
}

fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
}

fn middle(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}
