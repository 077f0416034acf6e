//! The command line of `cargo xtask sim scale`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::outcome::Way;
use super::table::{self, Row};
use super::{bus, gossip, periodic, plot};

/// Shown for `--help` and after a usage error.
pub const USAGE: &str = "\
cargo xtask sim scale [flags]     what the bus costs as it grows, beside other ways

  --nodes LIST   sizes of the bus, each from 4 to 2000 (default 10,32,100)
  --keys N       declarations of each node, 1 to 1000 (default 5)
  --seed S       where the latencies and start times come from (default 1)
  --with FILE    takes the rows of an earlier run's --csv into the table and the charts
  --csv FILE     writes the table there as well
  --plots DIR    writes messages.svg, bytes.svg and waits.svg there

The control bus is the real core and codec. The periodic broadcast and the gossip are
models: docs/scale.md says of what. Exit status 1 if an idle hour costs a message, a cold
start more than O(N) messages a node, or if somebody does not know everything.";

/// What is to be measured.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plan {
    sizes: Vec<usize>,
    keys: usize,
    seed: u64,
    with: Option<PathBuf>,
    csv: Option<PathBuf>,
    plots: Option<PathBuf>,
}

/// Does what the arguments ask for. True if all laws held.
///
/// # Errors
/// A sentence that says which argument is wrong, or which file cannot be written.
pub fn run(arguments: impl IntoIterator<Item = String>) -> Result<bool, String> {
    let Some(plan) = parse(arguments)? else {
        println!("{USAGE}");
        return Ok(true);
    };
    let mut rows = Vec::new();
    let mut held = true;
    let earlier = plan.with.as_deref().map(read).transpose()?.unwrap_or_default();
    for nodes in &plan.sizes {
        let (measured, broken) = measure(*nodes, &plan);
        println!("{nodes} nodes, {} declarations each\n{}", plan.keys, table::text(&measured));
        for law in broken {
            held = false;
            eprintln!("error: {law}");
        }
        rows.extend(measured);
    }
    rows.extend(earlier);
    rows.sort_by_key(|row| (row.nodes, row.way));
    if let Some(file) = &plan.csv {
        write(file, &table::csv(&rows))?;
    }
    if let Some(folder) = &plan.plots {
        fs::create_dir_all(folder)
            .map_err(|error| format!("cannot make the folder {}: {error}", folder.display()))?;
        for (name, svg) in plot::all(&rows) {
            write(&folder.join(name), &svg)?;
        }
    }
    Ok(held)
}

/// All steps in all ways, and which laws the bus broke.
fn measure(nodes: usize, plan: &Plan) -> (Vec<Row>, Vec<String>) {
    let started = Instant::now();
    let measured = bus::measure(nodes, plan.keys, CHANGES, plan.seed);
    eprintln!("{nodes} nodes on the bus took {:.1} s", started.elapsed().as_secs_f64());
    let gossip = gossip::measure(nodes, plan.keys, CHANGES, plan.seed);
    let ways = [
        (Way::Bus, measured.outcomes),
        (Way::Periodic, periodic::measure(nodes, plan.keys, CHANGES, plan.seed)),
        (Way::Gossip, gossip),
    ];
    let rows = ways.into_iter().flat_map(|(way, outcomes)| {
        let row = move |(step, outcome)| Row::new(nodes, way, step, &outcome);
        outcomes.into_iter().map(row)
    });
    (rows.collect(), measured.broken)
}

/// Reads the arguments; nothing if only help is wanted.
fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Option<Plan>, String> {
    let mut arguments = arguments.into_iter();
    let mut plan =
        Plan { sizes: vec![10, 32, 100], keys: 5, seed: 1, with: None, csv: None, plots: None };
    while let Some(flag) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--help" | "-h" => return Ok(None),
            "--nodes" => {
                let list = value()?;
                let sizes = list.split(',').map(|size| within(&flag, size, 4..=2000));
                plan.sizes = sizes.collect::<Result<_, _>>()?;
            }
            "--keys" => plan.keys = within(&flag, &value()?, 1..=1000)?,
            "--seed" => {
                let seed = value()?;
                plan.seed = seed.parse().map_err(|_| format!("--seed {seed}: use a number"))?;
            }
            "--with" => plan.with = Some(value()?.into()),
            "--csv" => plan.csv = Some(value()?.into()),
            "--plots" => plan.plots = Some(value()?.into()),
            other => return Err(format!("scale does not know {other}")),
        }
    }
    Ok(Some(plan))
}

fn within(flag: &str, text: &str, range: std::ops::RangeInclusive<usize>) -> Result<usize, String> {
    let (from, to) = (range.start(), range.end());
    let wrong = || format!("{flag} {text}: use numbers from {from} to {to}");
    text.parse().ok().filter(|number| range.contains(number)).ok_or_else(wrong)
}

fn read(file: &Path) -> Result<Vec<Row>, String> {
    let text = fs::read_to_string(file)
        .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    table::read_csv(&text).map_err(|error| format!("{}: {error}", file.display()))
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))
}

/// Of how many changes the step's costs are the mean.
const CHANGES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Option<Plan>, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn sizes_are_read_in_their_order() {
        let plan = parsed("--nodes 10,100 --keys 20 --csv a.csv").expect("valid").expect("a plan");
        assert_eq!((plan.sizes, plan.keys), (vec![10, 100], 20));
        assert_eq!((plan.csv, plan.plots), (Some("a.csv".into()), None));
    }

    #[test]
    fn a_wrong_argument_is_named() {
        for (line, named) in [
            ("--nodes 3", "--nodes 3: use numbers from 4 to 2000"),
            ("--nodes 10,x", "--nodes x"),
            ("--keys 0", "--keys 0"),
            ("--csv", "--csv needs a value"),
            ("--node 3", "--node"),
        ] {
            let error = parsed(line).expect_err(line);
            assert!(error.contains(named), "{error}");
        }
    }
}
