//! Throughput and round trip of the bus beside the bare transports, in the same run.
//!
//! `cargo xtask bench` builds and runs it. Each measurement has its own pair of
//! processes, a receiver and a sender (mem: one process), started by this program from
//! itself. The bus and the bare transport take turns, so that both have the same
//! machine; of several turns the median counts.
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

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;

use anyhow::{Context, Result};

use figures::Figures;
use job::{Job, Measure, Subject, Transport};
use options::{Mode, Options};

fn main() -> ExitCode {
    let done = match options::parse(std::env::args().skip(1)) {
        Ok(Mode::Child { job, role }) => child::run(&job, role).map(|()| true),
        Ok(Mode::Measure(options)) => measure(&options),
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
    let mut figures = Figures::default();
    for transport in &options.transports {
        for payload in PAYLOADS {
            let rates = take_turns(options, *transport, Measure::Throughput { payload })?;
            figures.add_throughput(*transport, payload, &rates.bus, &rates.bare);
        }
        let trips = take_turns(options, *transport, Measure::RoundTrip)?;
        figures.add_round_trip(*transport, &trips.bus, &trips.bare);
    }
    println!("\n{figures}");
    if let Some(file) = &options.json {
        let text = format!("{:#}\n", figures.json());
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(figures.lost() == 0)
}

/// The results of all turns.
struct Turns {
    bus: Vec<serde_json::Value>,
    bare: Vec<serde_json::Value>,
}

fn take_turns(options: &Options, transport: Transport, measure: Measure) -> Result<Turns> {
    let mut turns = Turns { bus: Vec::new(), bare: Vec::new() };
    for turn in 1..=options.turns {
        for subject in [Subject::Bare, Subject::Bus] {
            eprintln!("{transport} {measure} {subject}, turn {turn} of {}", options.turns);
            // Nobody else's: ZeroMQ sockets go into it.
            let private = Permissions::from_mode(0o700);
            let folder = tempfile::Builder::new().permissions(private).tempdir();
            let folder = folder.context("cannot make a folder")?;
            let job = Job {
                subject,
                transport,
                measure,
                time: options.time,
                folder: folder.path().to_owned(),
            };
            let result = pair::run(&job)
                .with_context(|| format!("measuring {transport} {measure} {subject}"))?;
            match subject {
                Subject::Bus => turns.bus.push(result),
                Subject::Bare => turns.bare.push(result),
            }
        }
    }
    Ok(turns)
}

const PAYLOADS: [usize; 3] = [64, 1024, 64 * 1024];
