//! `dse-sim`, which `cargo xtask sim` builds and runs.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Instant;

use dse_sim::args::{self, Task};
use dse_sim::data::Counts;
use dse_sim::shrink::shrink;
use dse_sim::trial::Trial;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("explore") => return explore(),
        Some("scale") => return scale(),
        _ => {}
    }
    let held = match args::parse(std::env::args().skip(1)) {
        Err(error) => {
            eprintln!("error: {error}\n\n{}", args::USAGE);
            return ExitCode::from(2);
        }
        Ok(Task::Help) => {
            println!("{}", args::USAGE);
            true
        }
        Ok(Task::Seeds { like, from, count, shrinks, worlds }) => {
            let kinds = [false, true].into_iter().zip(worlds).filter(|(_, wanted)| *wanted);
            kinds.fold(true, |held, (data, _)| {
                held && seeds(&Trial { data, ..like.clone() }, from, count, shrinks)
            })
        }
        Ok(Task::One { trial, trace }) => one(&trial, trace),
    };
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn explore() -> ExitCode {
    match dse_sim::explore::args::run(std::env::args().skip(2)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}\n\n{}", dse_sim::explore::args::USAGE);
            ExitCode::from(2)
        }
    }
}

fn scale() -> ExitCode {
    match dse_sim::scale::args::run(std::env::args().skip(2)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}\n\n{}", dse_sim::scale::args::USAGE);
            ExitCode::from(2)
        }
    }
}

/// Runs seeds until one fails. True if none does.
fn seeds(like: &Trial, from: u64, count: u64, shrinks: bool) -> bool {
    let started = Instant::now();
    let mut steps = 0;
    let mut counts = Counts::default();
    for number in 0..count {
        let trial = Trial { seed: from.wrapping_add(number), ..like.clone() };
        let outcome = trial.run(false);
        steps += outcome.steps;
        counts.add(&outcome.counts);
        if let Some(failure) = outcome.failure {
            println!("seed {} fails at {}:\n{}\n", trial.seed, failure.place, failure.what);
            if !shrinks {
                return false;
            }
            println!("it has {} acts; shrinking ...", outcome.acts);
            let small = shrink(&trial, &failure, outcome.acts, PLAYS, &|trial| trial.run(false));
            println!("{} acts are left. Replay with\n\n  {}", acts(&small), args::replay(&small));
            return false;
        }
        if (number + 1) % 1000 == 0 {
            eprintln!("{} seeds, {}", number + 1, speed(steps, started));
        }
    }
    let what = if like.data { "seeds of data" } else { "seeds" };
    println!("{count} {what} from {from} on hold: {}", speed(steps, started));
    !like.data || all_fired(&counts, count)
}

/// Prints what happened in worlds of data. False if some rule was not tried, of so many seeds.
fn all_fired(counts: &Counts, seeds: u64) -> bool {
    print!("{counts}");
    let never = counts.never();
    if seeds < ENOUGH || never.is_empty() {
        return true;
    }
    println!("never happened: {}", never.join(", "));
    false
}

/// So many seeds try every rule.
const ENOUGH: u64 = 10_000;

fn speed(steps: u64, since: Instant) -> String {
    let seconds = since.elapsed().as_secs_f64();
    let each = steps as f64 / seconds.max(1e-9);
    format!("{steps} steps in {seconds:.1} s, {each:.0} steps a second")
}

fn one(trial: &Trial, trace: bool) -> bool {
    let outcome = trial.run(trace);
    for line in &outcome.transcript {
        println!("{line}");
    }
    match outcome.failure {
        None => {
            let (steps, course) = (outcome.steps, outcome.course);
            println!("seed {} holds: {steps} steps, course {course:016x}", trial.seed);
        }
        Some(failure) => {
            println!("seed {} fails at {}:\n{}", trial.seed, failure.place, failure.what);
            return false;
        }
    }
    true
}

fn acts(trial: &Trial) -> usize {
    trial.only.as_ref().map_or(0, Vec::len)
}

/// How many plays a failing seed is shrunk with.
const PLAYS: usize = 600;
