//! The command line of the simulator.

use crate::trial::Trial;

/// Shown for `--help` and after a usage error.
pub const USAGE: &str = "\
cargo xtask sim [flags]     random schedules on a simulated bus, held against the laws

  --seeds N      how many seeds (default 200)
  --from S       the first of them (default 0)
  --nodes N      members in each world (default: each seed draws 2 to 8)
  --steps N      steps, inputs handed to a control bus, before faults end (default 3000)
  --seed S       this seed alone
  --trace        prints what happens in it
  --only LIST    of the seed's acts only these, such as 3-5,17
  --without LIST members that take no part, by number
  --data         only worlds that carry data
  --control      only worlds of control buses
  --plain        clocks agree, latencies are even, the configuration is the default
  --as-it-is     a seed that fails is not shrunk

A seed that fails is shrunk, and the command that replays it is printed.

cargo xtask sim explore     everything that can happen in small worlds; see its --help
cargo xtask sim scale       what the bus costs as it grows; see its --help";

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Task {
    /// Say how it is used.
    Help,
    /// Run seeds until one fails.
    Seeds {
        /// What each is like, but for its seed.
        like: Trial,
        /// The first.
        from: u64,
        /// How many.
        count: u64,
        /// One that fails is made small.
        shrinks: bool,
        /// Worlds of control buses, and those that carry data.
        worlds: [bool; 2],
    },
    /// Run one trial.
    One {
        /// Which.
        trial: Trial,
        /// Print what happens.
        trace: bool,
    },
}

/// Reads the arguments.
///
/// # Errors
/// A sentence that says which argument is wrong and what would be right.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Task, String> {
    let mut arguments = arguments.into_iter();
    let (mut count, mut from, mut seed, mut trace, mut shrinks) = (200, 0, None, false, true);
    let mut trial = Trial::new(0, None, 3000);
    let mut worlds = [true, true];
    while let Some(flag) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--help" | "-h" => return Ok(Task::Help),
            "--seeds" => count = number(&flag, &value()?)?,
            "--from" => from = number(&flag, &value()?)?,
            "--seed" => seed = Some(number(&flag, &value()?)?),
            "--steps" => trial.steps = number(&flag, &value()?)?,
            "--nodes" => trial.nodes = Some(nodes(&value()?)?),
            "--only" => trial.only = Some(list(&flag, &value()?)?),
            "--without" => trial.without = list(&flag, &value()?)?,
            "--data" => (trial.data, worlds) = (true, [false, true]),
            "--control" => (trial.data, worlds) = (false, [true, false]),
            "--plain" => trial.plain = true,
            "--trace" => trace = true,
            "--as-it-is" => shrinks = false,
            other => return Err(format!("sim does not know {other}")),
        }
    }
    let one = trace || trial.only.is_some() || !trial.without.is_empty();
    match seed {
        Some(seed) => {
            trial.seed = seed;
            Ok(Task::One { trial, trace })
        }
        None if one => Err("--trace, --only and --without need --seed".to_owned()),
        None => Ok(Task::Seeds { like: trial, from, count, shrinks, worlds }),
    }
}

/// The command that runs this trial again.
pub fn replay(trial: &Trial) -> String {
    let mut command = format!("cargo xtask sim --seed {}", trial.seed);
    if let Some(nodes) = trial.nodes {
        command += &format!(" --nodes {nodes}");
    }
    match &trial.only {
        Some(only) => command += &format!(" --only {}", ranges(only)),
        None => command += &format!(" --steps {}", trial.steps),
    }
    if !trial.without.is_empty() {
        command += &format!(" --without {}", ranges(&trial.without));
    }
    if trial.data {
        command += " --data";
    }
    if trial.plain {
        command += " --plain";
    }
    command + " --trace"
}

/// Numbers in rising order, runs of them as `3-5`; `none` if there are none.
fn ranges(numbers: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, end)) if *end + 1 == *number => *end = *number,
            _ => runs.push((*number, *number)),
        }
    }
    let text = |(start, end): &(usize, usize)| match start == end {
        true => start.to_string(),
        false => format!("{start}-{end}"),
    };
    if runs.is_empty() {
        return "none".to_owned();
    }
    runs.iter().map(text).collect::<Vec<_>>().join(",")
}

fn list(flag: &str, text: &str) -> Result<Vec<usize>, String> {
    let mut numbers = Vec::new();
    if text == "none" {
        return Ok(numbers);
    }
    for run in text.split(',') {
        let (start, end) = run.split_once('-').unwrap_or((run, run));
        let (start, end): (usize, usize) = (number(flag, start)?, number(flag, end)?);
        if end < start || end - start > LONGEST_RUN {
            return Err(format!("{flag} {run}: a run goes from a smaller to a larger number"));
        }
        numbers.extend(start..=end);
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

fn nodes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(nodes @ 1..=64) => Ok(nodes),
        _ => Err(format!("--nodes {text}: use a number from 1 to 64")),
    }
}

fn number<T: std::str::FromStr>(flag: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{flag} {text}: use a number"))
}

const LONGEST_RUN: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_is_replayed_by_its_command() {
        let only = Some(vec![0, 1, 2, 9, 40, 41]);
        let trial = Trial { only, without: vec![3], plain: true, ..Trial::new(7, Some(5), 3000) };
        let command = replay(&trial);
        let flags = command.strip_prefix("cargo xtask sim ").expect("a command");
        let Ok(Task::One { trial: again, trace: true }) =
            parse(flags.split(' ').map(str::to_owned))
        else {
            panic!("{command}");
        };
        let what = |trial: &Trial| (trial.seed, trial.nodes, trial.only.clone());
        assert_eq!(what(&again), what(&trial));
        assert_eq!((again.without, again.plain), (trial.without, trial.plain));
    }
}
