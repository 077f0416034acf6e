//! Throughput and round trip of the bus beside the bare transports, in the same run.
//!
//! `cargo xtask bench` builds and runs it; docs/benchmarks.md says what its figures mean.
//! Each measurement has its own pair of processes, a receiver and a sender (mem: one
//! process), started by this program from itself. The bare transport and the bus take
//! turns, so that both have the same machine; of several turns the median counts, and so
//! it does of what the two turns of each pair make of each other.
#![forbid(unsafe_code)]

mod bare_mem;
mod bare_quic;
mod bare_zmq;
mod bus;
mod child;
mod figures;
mod job;
mod options;
mod pair;
mod stall;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;

use anyhow::{Context, Result};

use figures::{Figures, Turn};
use job::{Ends, Job, Measure, Subject, Transport};
use options::{Mode, Options};

fn main() -> ExitCode {
    let done = match options::parse(std::env::args().skip(1)) {
        Ok(Mode::Child { job, role }) => child::run(&job, role).map(|()| true),
        Ok(Mode::Measure(options)) => measure(&options),
        Ok(Mode::Stall(options)) => stall::measure(&options),
        Err(error) => {
            eprintln!("error: {error}\n\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures all that is asked for. True when no sample was lost.
fn measure(options: &Options) -> Result<bool> {
    let mut rows: Vec<Row> = options.transports.iter().flat_map(|it| Row::all(*it)).collect();
    for turn in 1..=options.turns {
        for row in &mut rows {
            let Row { transport, ends, measure, .. } = row;
            eprintln!("turn {turn} of {}: {transport} {ends} {measure}", options.turns);
            row.take_turn(options)?;
        }
    }
    let mut figures = Figures::default();
    for Row { transport, ends, measure, turns } in &rows {
        figures.add(*transport, *ends, *measure, turns);
    }
    println!("\n{figures}");
    write_json(options, &figures.json())?;
    let lost = figures.lost();
    if lost > 0 {
        eprintln!("error: {lost} samples were lost");
    }
    Ok(lost == 0)
}

/// One measurement, repeated.
struct Row {
    transport: Transport,
    ends: Ends,
    measure: Measure,
    turns: Vec<Turn>,
}

impl Row {
    fn all(transport: Transport) -> impl Iterator<Item = Self> {
        let measures = PAYLOADS.map(|payload| Measure::Throughput { payload });
        transport.ends().iter().flat_map(move |ends| {
            let all = measures.into_iter().chain([Measure::RoundTrip]);
            all.map(move |measure| Self { transport, ends: *ends, measure, turns: Vec::new() })
        })
    }

    /// The bare transport and then the bus: what slows down the machine for longer slows
    /// down both.
    fn take_turn(&mut self, options: &Options) -> Result<()> {
        let bare = self.run(options, Subject::Bare)?;
        let bus = self.run(options, Subject::Bus)?;
        self.turns.push(Turn { bus, bare });
        Ok(())
    }

    fn run(&self, options: &Options, subject: Subject) -> Result<serde_json::Value> {
        let folder = private_folder()?;
        let Self { transport, ends, measure, .. } = *self;
        let (time, path) = (options.time, folder.path().to_owned());
        let job = Job { subject, transport, ends, measure, time, folder: path };
        pair::run(&job).with_context(|| format!("measuring {transport} {ends} {measure} {subject}"))
    }
}

/// Nobody else's: ZeroMQ sockets go into it.
fn private_folder() -> Result<tempfile::TempDir> {
    let private = Permissions::from_mode(0o700);
    let folder = tempfile::Builder::new().permissions(private).tempdir();
    folder.context("cannot make a folder")
}

/// Writes all figures where the user wants them.
fn write_json(options: &Options, figures: &serde_json::Value) -> Result<()> {
    let Some(file) = &options.json else { return Ok(()) };
    let text = format!("{figures:#}\n");
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

const PAYLOADS: [usize; 3] = [64, 1024, 64 * 1024];
