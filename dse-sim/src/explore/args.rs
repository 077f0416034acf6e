//! `dse-sim explore`: the command line of the exhaustive check.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Faults, Model, Outcome};

/// Shown for `--help` and after a usage error.
pub const USAGE: &str = "\
cargo xtask sim explore [flags]     everything that can happen in small worlds: buses of
                                    two to four nodes, and single sequences of samples

  --world NAME   this world alone (default: all)
  --control      only the buses
  --data         only the sequences
  --list         names the worlds and their bounds
  --losses N     how often a link may be lost on one path, instead of the world's own bound
  --crashes N    the same for crashes of nodes
  --delays N     the same for long times that pass although something is under way
  --drops N      how often a message or data frame may be lost in silence, which no transport may do:
                 the check must find this out
  --jobs N       how many worlds are searched at the same time (default: one for each core)
  --states N     the most states of one world to meet (default 20000000)

A broken rule is told by one of the shortest paths that lead to it.";

/// Reads the arguments, and searches as they say. True when all that can happen was
/// tried and every rule held.
///
/// # Errors
/// A sentence that says which argument is wrong and what would be right.
pub fn run(arguments: impl IntoIterator<Item = String>) -> Result<bool, String> {
    let mut arguments = arguments.into_iter();
    let (mut models, mut list, mut states) = (Model::all(), false, MOST_STATES);
    let mut jobs = std::thread::available_parallelism().map_or(1, NonZero::get);
    while let Some(flag) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--help" | "-h" => {
                println!("{USAGE}");
                return Ok(true);
            }
            "--control" => models.retain(|model| matches!(model, Model::Bus(_))),
            "--data" => models.retain(|model| matches!(model, Model::Sequence(_))),
            "--list" => list = true,
            "--world" => {
                let name = value()?;
                models.retain(|model| model.name() == name);
                if models.is_empty() {
                    return Err(format!("there is no world {name}; --list names them"));
                }
            }
            "--losses" => each(&mut models, number(&flag, &value()?)?, |f| &mut f.losses),
            "--crashes" => each(&mut models, number(&flag, &value()?)?, |f| &mut f.crashes),
            "--delays" => each(&mut models, number(&flag, &value()?)?, |f| &mut f.delays),
            "--drops" => each(&mut models, number(&flag, &value()?)?, |f| &mut f.drops),
            "--states" => states = number(&flag, &value()?)?,
            "--jobs" => jobs = number(&flag, &value()?)?,
            other => return Err(format!("explore does not know {other}")),
        }
    }
    if list {
        for model in &models {
            println!("{:14} {}; {}", model.name(), model.about(), bounds(model));
        }
        return Ok(true);
    }
    Ok(all_hold(&models, states, jobs))
}

/// Searches so many at a time, and prints what came of them in their order, up to the first that
/// is broken.
fn all_hold(models: &[Model], most_states: usize, jobs: usize) -> bool {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Found { printed: 0, done: BTreeMap::new(), hold: true });
    let search = || {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(model) = models.get(place) else { return };
            let started = Instant::now();
            let outcome = (model.search(most_states), started.elapsed());
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            found.done.insert(place, outcome);
            if !found.print(models, most_states) {
                // Nobody begins another one.
                next.store(models.len(), Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| (0..jobs.max(1)).for_each(|_| drop(scope.spawn(search))));
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.hold
}

/// What came of searches.
struct Found {
    /// So many were printed.
    printed: usize,
    /// Those that wait for an earlier one, by their place.
    done: BTreeMap<usize, (Outcome, Duration)>,
    hold: bool,
}

impl Found {
    /// Prints those that are next. False once one is broken.
    fn print(&mut self, models: &[Model], most_states: usize) -> bool {
        while self.hold
            && let Some((outcome, took)) = self.done.remove(&self.printed)
        {
            self.hold = holds(&models[self.printed], &outcome, took, most_states);
            self.printed += 1;
        }
        self.hold
    }
}

fn each(models: &mut [Model], most: u8, which: fn(&mut Faults) -> &mut u8) {
    models.iter_mut().for_each(|model| *which(model.faults_mut()) = most);
}

fn holds(model: &Model, outcome: &Outcome, took: Duration, most_states: usize) -> bool {
    let Outcome { states, steps, depth, rests, whole, broken } = outcome;
    let seconds = took.as_secs_f64();
    println!(
        "{:14} {states} states, {steps} steps, {depth} deep, {rests} at rest, {seconds:.1} s; {}",
        model.name(),
        bounds(model)
    );
    if let Some((broken, story)) = broken {
        story.iter().for_each(|line| println!("{line}"));
        println!("{}: {broken}", model.name());
        return false;
    }
    if !*whole {
        println!("{}: stopped at {most_states} states: not all was tried", model.name());
    }
    *whole
}

fn bounds(model: &Model) -> String {
    let Faults { losses, crashes, delays, drops } = model.faults();
    let drops = if drops > 0 { format!(", drops {drops}") } else { String::new() };
    format!("losses {losses}, crashes {crashes}, delays {delays}{drops}")
}

fn number<T: std::str::FromStr>(flag: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{flag} {text}: use a number"))
}

const MOST_STATES: usize = 20_000_000;
