//! `dse-sim explore`: the command line of the exhaustive check.

use std::time::Instant;

use super::{Faults, Model, Outcome};

/// Shown for `--help` and after a usage error.
pub const USAGE: &str = "\
cargo xtask sim explore [flags]     everything that can happen in small worlds: buses of
                                    two to four nodes, and single sequences of samples

  --world NAME   this world alone (default: all)
  --list         names the worlds and their bounds
  --losses N     how often a link may be lost on one path, instead of the world's own bound
  --crashes N    the same for crashes of nodes
  --delays N     the same for long times that pass although something is under way
  --drops N      how often a message or data frame may be lost in silence, which no transport may do:
                 the check must find this out
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
    while let Some(flag) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--help" | "-h" => {
                println!("{USAGE}");
                return Ok(true);
            }
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
            other => return Err(format!("explore does not know {other}")),
        }
    }
    if list {
        for model in &models {
            println!("{:14} {}; {}", model.name(), model.about(), bounds(model));
        }
        return Ok(true);
    }
    Ok(models.iter().all(|model| holds(model, states)))
}

fn each(models: &mut [Model], most: u8, which: fn(&mut Faults) -> &mut u8) {
    models.iter_mut().for_each(|model| *which(model.faults_mut()) = most);
}

fn holds(model: &Model, most_states: usize) -> bool {
    let started = Instant::now();
    let outcome = model.search(most_states);
    let Outcome { states, steps, depth, rests, whole, broken } = outcome;
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{:14} {states} states, {steps} steps, {depth} deep, {rests} at rest, {seconds:.1} s; {}",
        model.name(),
        bounds(model)
    );
    if let Some((broken, story)) = &broken {
        story.iter().for_each(|line| println!("{line}"));
        println!("{}: {broken}", model.name());
        return false;
    }
    if !whole {
        println!("{}: stopped at {most_states} states: not all was tried", model.name());
    }
    whole
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
