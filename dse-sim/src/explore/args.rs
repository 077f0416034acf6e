//! `dse-sim explore`: the command line of the exhaustive check.

use std::time::Instant;

use super::{Outcome, Plot, search, worlds};
use crate::data::explore::{self as data, Scene};

/// Shown for `--help` and after a usage error.
pub const USAGE: &str = "\
cargo xtask sim explore [flags]     everything that can happen in small worlds

  --world NAME   this world alone (default: all). Those of the control bus come first, then
                 those of one sequence of data
  --list         names the worlds and their bounds
  --losses N     how often a link may be lost on one path, instead of the world's own bound
  --crashes N    the same for crashes of nodes
  --delays N     the same for long times that pass although something is under way
  --drops N      how often a message may be lost in silence, which no transport may do:
                 the check must find this out
  --samples N, --withdrawals N
                 how much is published and how often it is wanted no more, of a sequence
  --states N     the most states of one world to meet (default 20000000)

A broken rule is told by one of the shortest paths that lead to it.";

/// Reads the arguments, and searches as they say. True when all that can happen was
/// tried and every rule held.
///
/// # Errors
/// A sentence that says which argument is wrong and what would be right.
pub fn run(arguments: impl IntoIterator<Item = String>) -> Result<bool, String> {
    let mut arguments = arguments.into_iter();
    let (mut plots, mut scenes) = (worlds(), data::scenes());
    let (mut list, mut states) = (false, MOST_STATES);
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
                plots.retain(|plot| plot.name == name);
                scenes.retain(|scene| scene.name == name);
                if plots.is_empty() && scenes.is_empty() {
                    return Err(format!("there is no world {name}; --list names them"));
                }
            }
            "--losses" => {
                let most = number(&flag, &value()?)?;
                each(&mut plots, most, |f| &mut f.losses);
                scenes.iter_mut().for_each(|scene| scene.losses = most);
            }
            "--samples" => {
                let most = number(&flag, &value()?)?;
                scenes.iter_mut().for_each(|scene| scene.samples = most);
            }
            "--withdrawals" => {
                let most = number(&flag, &value()?)?;
                scenes.iter_mut().for_each(|scene| scene.withdrawals = most);
            }
            "--crashes" => each(&mut plots, number(&flag, &value()?)?, |f| &mut f.crashes),
            "--delays" => each(&mut plots, number(&flag, &value()?)?, |f| &mut f.delays),
            "--drops" => each(&mut plots, number(&flag, &value()?)?, |f| &mut f.drops),
            "--states" => states = number(&flag, &value()?)?,
            other => return Err(format!("explore does not know {other}")),
        }
    }
    if list {
        plots.iter().for_each(|plot| println!("{:14} {}; {}", plot.name, plot.about, bounds(plot)));
        scenes.iter().for_each(|scene| println!("{:14} {}", scene.name, scene_bounds(scene)));
        return Ok(true);
    }
    Ok(plots.iter().all(|plot| holds(plot, states))
        && scenes.iter().all(|scene| scene_holds(scene, states)))
}

fn each(plots: &mut [Plot], most: u8, which: fn(&mut super::Faults) -> &mut u8) {
    plots.iter_mut().for_each(|plot| *which(&mut plot.faults) = most);
}

fn holds(plot: &Plot, most_states: usize) -> bool {
    let started = Instant::now();
    let outcome = search(plot, most_states);
    let Outcome { states, steps, depth, rests, whole, broken } = outcome;
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{:10} {states} states, {steps} steps, {depth} deep, {rests} at rest, {seconds:.1} s; {}",
        plot.name,
        bounds(plot)
    );
    if let Some((broken, story)) = &broken {
        story.iter().for_each(|line| println!("{line}"));
        println!("{}: {broken}", plot.name);
        return false;
    }
    if !whole {
        println!("{}: stopped at {most_states} states: not all was tried", plot.name);
    }
    whole
}

fn scene_holds(scene: &Scene, most_states: usize) -> bool {
    let started = Instant::now();
    let outcome = data::search(scene, most_states);
    let data::Outcome { states, steps, depth, rests, whole, broken } = outcome;
    let seconds = started.elapsed().as_secs_f64();
    let name = scene.name;
    println!(
        "{name:10} {states} states, {steps} steps, {depth} deep, {rests} at rest, {seconds:.1} s; {}",
        scene_bounds(scene)
    );
    if let Some((broken, story)) = &broken {
        story.iter().for_each(|line| println!("{line}"));
        println!("{name}: {broken}");
        return false;
    }
    if !whole {
        println!("{name}: stopped at {most_states} states: not all was tried");
    }
    whole
}

fn scene_bounds(scene: &Scene) -> String {
    let Scene { policy, samples, losses, withdrawals, end, .. } = scene;
    format!("{policy:?}, {samples} samples, losses {losses}, withdrawals {withdrawals}, {end:?}")
}

fn bounds(plot: &Plot) -> String {
    let super::Faults { losses, crashes, delays, drops } = plot.faults;
    let drops = if drops > 0 { format!(", drops {drops}") } else { String::new() };
    format!("losses {losses}, crashes {crashes}, delays {delays}{drops}")
}

fn number<T: std::str::FromStr>(flag: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{flag} {text}: use a number"))
}

const MOST_STATES: usize = 20_000_000;
