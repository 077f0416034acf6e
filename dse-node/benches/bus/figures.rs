//! Counting in the processes, and the table and JSON of all figures.

use std::fmt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::job::{Job, Measure, Transport};

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

#[derive(Debug)]
struct Throughput {
    transport: Transport,
    payload: usize,
    per_s: f64,
    mb_per_s: f64,
    lost: u64,
    bare_per_s: f64,
    bare_mb_per_s: f64,
}

#[derive(Debug)]
struct RoundTrip {
    transport: Transport,
    p50_us: f64,
    p99_us: f64,
    bare_p50_us: f64,
    bare_p99_us: f64,
}

impl Figures {
    pub(crate) fn add_throughput(
        &mut self,
        transport: Transport,
        payload: usize,
        bus: &[Value],
        bare: &[Value],
    ) {
        let counted = |turn: &Value, field: &str| turn[field].as_u64().unwrap_or(0);
        let lost = bus
            .iter()
            .map(|turn| {
                counted(turn, "sent").abs_diff(counted(turn, "received")).max(counted(turn, "gaps"))
            })
            .sum();
        self.throughput.push(Throughput {
            transport,
            payload,
            per_s: median(bus, "per_s"),
            mb_per_s: median(bus, "mb_per_s"),
            lost,
            bare_per_s: median(bare, "per_s"),
            bare_mb_per_s: median(bare, "mb_per_s"),
        });
    }

    pub(crate) fn add_round_trip(&mut self, transport: Transport, bus: &[Value], bare: &[Value]) {
        self.round_trips.push(RoundTrip {
            transport,
            p50_us: median(bus, "p50_us"),
            p99_us: median(bus, "p99_us"),
            bare_p50_us: median(bare, "p50_us"),
            bare_p99_us: median(bare, "p99_us"),
        });
    }

    /// How many samples were lost in all.
    pub(crate) fn lost(&self) -> u64 {
        self.throughput.iter().map(|figure| figure.lost).sum()
    }

    pub(crate) fn json(&self) -> Value {
        let throughput = self.throughput.iter().map(|it| {
            json!({
                "transport": it.transport.to_string(),
                "payload_bytes": it.payload,
                "samples_per_s": it.per_s,
                "mb_per_s": it.mb_per_s,
                "lost": it.lost,
                "bare_messages_per_s": it.bare_per_s,
                "bare_mb_per_s": it.bare_mb_per_s,
                "ratio": ratio(it.per_s, it.bare_per_s),
            })
        });
        let round_trip = self.round_trips.iter().map(|it| {
            json!({
                "transport": it.transport.to_string(),
                "p50_us": it.p50_us,
                "p99_us": it.p99_us,
                "bare_p50_us": it.bare_p50_us,
                "bare_p99_us": it.bare_p99_us,
                "ratio_p50": ratio(it.p50_us, it.bare_p50_us),
                "ratio_p99": ratio(it.p99_us, it.bare_p99_us),
            })
        });
        json!({
            "throughput": throughput.collect::<Vec<_>>(),
            "round_trip": round_trip.collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "1 publisher to 1 subscriber, reliable (Block)\n")?;
        writeln!(
            f,
            "{:<9} {:>9} {:>12} {:>9} {:>6} {:>12} {:>9} {:>6}",
            "transport", "bytes", "samples/s", "MB/s", "lost", "bare msgs/s", "MB/s", "ratio"
        )?;
        for it in &self.throughput {
            writeln!(
                f,
                "{:<9} {:>9} {:>12.0} {:>9.1} {:>6} {:>12.0} {:>9.1} {:>6.2}",
                it.transport.to_string(),
                it.payload,
                it.per_s,
                it.mb_per_s,
                it.lost,
                it.bare_per_s,
                it.bare_mb_per_s,
                ratio(it.per_s, it.bare_per_s),
            )?;
        }
        writeln!(f, "\nround trip of 64 bytes, in microseconds\n")?;
        writeln!(
            f,
            "{:<9} {:>9} {:>9} {:>10} {:>10} {:>10} {:>10}",
            "transport", "p50", "p99", "bare p50", "bare p99", "ratio p50", "ratio p99"
        )?;
        for it in &self.round_trips {
            writeln!(
                f,
                "{:<9} {:>9.1} {:>9.1} {:>10.1} {:>10.1} {:>10.2} {:>10.2}",
                it.transport.to_string(),
                it.p50_us,
                it.p99_us,
                it.bare_p50_us,
                it.bare_p99_us,
                ratio(it.p50_us, it.bare_p50_us),
                ratio(it.p99_us, it.bare_p99_us),
            )?;
        }
        Ok(())
    }
}

fn ratio(ours: f64, theirs: f64) -> f64 {
    if theirs > 0.0 { ours / theirs } else { 0.0 }
}

fn median(turns: &[Value], field: &str) -> f64 {
    let mut values: Vec<f64> = turns.iter().filter_map(|turn| turn[field].as_f64()).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
