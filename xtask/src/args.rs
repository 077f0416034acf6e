//! What `cargo xtask` is asked to do.

use std::fmt;
use std::path::PathBuf;

use crate::fuzz::FuzzOptions;
use crate::mutants::MutantsOptions;

/// Shown by `cargo xtask help` and after a usage error.
pub(crate) const USAGE: &str = "\
cargo xtask <task>

  test                     builds and runs every test of the workspace
  ci [--without-tests]     every other check: format, lints, docs, features, trees
  coverage                 lines of the core that nothing runs (cargo-llvm-cov)
  mutants                  plants deliberate bugs in a copy and sees who catches them
      --only TEXT          only those with this text in their names, or of this list
      --with CATCHER       only this catcher: tests, sim or explore
      --matrix             every catcher on every bug, not only until one caught it
      --markdown FILE      writes the result there, as docs/mutations.md has it
  demo                     tells the story of the bus with real nodes
      --transport T        quic (default), zmq or mem
      --nodes N            how many, 5 to 64, the late one included (default 6)
      --json FILE          writes the report there as well
      --baseline           runs only the periodic broadcast that DSE replaces
  bench                    measures throughput and round trip beside the bare transports
      --transport T        only this one
      --quick              short runs, for a first look
      --json FILE          writes the figures there as well
      --idle               instead: what a bus puts on the wire on which nothing happens
      --stall              instead: what a stopped subscriber does to the others
      --start              instead: how long nodes that start at once need to find each other
  sim                      random schedules on a simulated bus, held against the laws
      --seeds N            how many; --help tells the other flags
      explore              instead: everything that can happen in small worlds
      scale                instead: what the bus costs as it grows
  fuzz [TARGET]            hostile bytes, ever new ones, to each fuzz target or to this one
      --minutes N          how long each (default 5)";

/// One task with its options.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Help,
    Test,
    Ci { with_tests: bool },
    Coverage,
    Mutants(MutantsOptions),
    Demo(DemoOptions),
    Bench { arguments: Vec<String> },
    Idle(NodesOptions),
    Start(NodesOptions),
    Sim { arguments: Vec<String> },
    Fuzz(FuzzOptions),
}

/// How the demo is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DemoOptions {
    pub(crate) transport: Transport,
    pub(crate) nodes: usize,
    pub(crate) json: Option<PathBuf>,
    pub(crate) baseline_only: bool,
}

/// What of a bus of real nodes is measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodesOptions {
    /// Only this one.
    pub(crate) transport: Option<Transport>,
    /// Only small buses, for a short time.
    pub(crate) quick: bool,
    pub(crate) json: Option<PathBuf>,
    /// The `dse-node` to measure: this process is in the namespace that was made for it.
    pub(crate) inside: Option<PathBuf>,
}

/// What the nodes talk over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Quic,
    Zmq,
    Mem,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quic => "quic",
            Self::Zmq => "zmq",
            Self::Mem => "mem",
        })
    }
}

/// Reads the arguments that follow `cargo xtask`.
///
/// # Errors
/// A sentence that says which argument is wrong and what would be right.
pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Task, String> {
    let mut arguments = arguments.into_iter();
    let task = arguments.next();
    match task.as_deref() {
        None | Some("help" | "-h" | "--help") => Ok(Task::Help),
        Some("test") => no_more(arguments, Task::Test),
        Some("ci") => match arguments.next().as_deref() {
            None => Ok(Task::Ci { with_tests: true }),
            Some("--without-tests") => no_more(arguments, Task::Ci { with_tests: false }),
            Some(other) => Err(format!("ci does not know {other}; it takes --without-tests")),
        },
        Some("coverage") => no_more(arguments, Task::Coverage),
        Some("mutants") => parse_mutants(arguments).map(Task::Mutants),
        Some("demo") => parse_demo(arguments).map(Task::Demo),
        Some("bench") => {
            let arguments: Vec<String> = arguments.collect();
            if arguments.iter().any(|argument| argument == "--idle") {
                parse_nodes_bench("--idle", arguments).map(Task::Idle)
            } else if arguments.iter().any(|argument| argument == "--start") {
                parse_nodes_bench("--start", arguments).map(Task::Start)
            } else {
                Ok(Task::Bench { arguments })
            }
        }
        Some("sim") => Ok(Task::Sim { arguments: arguments.collect() }),
        Some("fuzz") => parse_fuzz(arguments).map(Task::Fuzz),
        Some(other) => Err(format!("there is no task {other}")),
    }
}

fn no_more(mut rest: impl Iterator<Item = String>, task: Task) -> Result<Task, String> {
    match rest.next() {
        None => Ok(task),
        Some(other) => Err(format!("{other} is one argument too many")),
    }
}

fn parse_mutants(mut arguments: impl Iterator<Item = String>) -> Result<MutantsOptions, String> {
    let mut options = MutantsOptions::default();
    while let Some(flag) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--only" => options.only = Some(value()?),
            "--with" => options.with = Some(value()?),
            "--matrix" => options.matrix = true,
            "--markdown" => options.markdown = Some(PathBuf::from(value()?)),
            other => return Err(format!("mutants does not know {other}")),
        }
    }
    Ok(options)
}

fn parse_demo(mut arguments: impl Iterator<Item = String>) -> Result<DemoOptions, String> {
    let mut options =
        DemoOptions { transport: Transport::Quic, nodes: 6, json: None, baseline_only: false };
    while let Some(flag) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--transport" => options.transport = parse_transport(&value()?)?,
            "--nodes" => options.nodes = parse_nodes(&value()?)?,
            "--json" => options.json = Some(PathBuf::from(value()?)),
            "--baseline" => options.baseline_only = true,
            other => return Err(format!("demo does not know {other}")),
        }
    }
    Ok(options)
}

fn parse_fuzz(mut arguments: impl Iterator<Item = String>) -> Result<FuzzOptions, String> {
    let mut options = FuzzOptions { target: None, minutes: 5 };
    while let Some(word) = arguments.next() {
        match word.as_str() {
            "--minutes" => {
                let value = arguments.next().ok_or("--minutes needs a value")?;
                let wrong = || format!("--minutes {value}: use a number from 1 to 10000");
                options.minutes = value.parse().map_err(|_| wrong())?;
                if !(1..=10_000).contains(&options.minutes) {
                    return Err(wrong());
                }
            }
            flag if flag.starts_with('-') => return Err(format!("fuzz does not know {flag}")),
            _ if options.target.is_some() => return Err(format!("{word} is one target too many")),
            _ => options.target = Some(word),
        }
    }
    Ok(options)
}

fn parse_nodes_bench(kind: &str, arguments: Vec<String>) -> Result<NodesOptions, String> {
    let mut options = NodesOptions::default();
    let mut arguments = arguments.into_iter();
    while let Some(flag) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value"));
        match flag.as_str() {
            flag if flag == kind => {}
            "--quick" => options.quick = true,
            "--transport" => match parse_transport(&value()?)? {
                Transport::Mem => {
                    return Err(format!("{kind} --transport mem: it has no processes to measure"));
                }
                transport => options.transport = Some(transport),
            },
            "--json" => options.json = Some(PathBuf::from(value()?)),
            "--inside" if kind == "--idle" => options.inside = Some(PathBuf::from(value()?)),
            other => return Err(format!("bench {kind} does not know {other}")),
        }
    }
    Ok(options)
}

fn parse_transport(text: &str) -> Result<Transport, String> {
    match text {
        "quic" => Ok(Transport::Quic),
        "zmq" => Ok(Transport::Zmq),
        "mem" => Ok(Transport::Mem),
        other => Err(format!("--transport {other}: use quic, zmq or mem")),
    }
}

fn parse_nodes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(nodes @ 5..=64) => Ok(nodes),
        _ => Err(format!("--nodes {text}: use a number from 5 to 64")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Task, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn demo_has_defaults_and_takes_every_flag() {
        let Ok(Task::Demo(default)) = parsed("demo") else { panic!("demo alone is enough") };
        assert_eq!((default.transport, default.nodes), (Transport::Quic, 6));
        let all = parsed("demo --transport zmq --nodes 8 --json out.json --baseline");
        assert_eq!(
            all,
            Ok(Task::Demo(DemoOptions {
                transport: Transport::Zmq,
                nodes: 8,
                json: Some(PathBuf::from("out.json")),
                baseline_only: true,
            }))
        );
    }

    #[test]
    fn bench_keeps_its_arguments_unless_it_is_idle() {
        let arguments = vec!["--quick".to_owned()];
        assert_eq!(parsed("bench --quick"), Ok(Task::Bench { arguments }));
        assert_eq!(
            parsed("bench --quick --idle --transport zmq --json out.json --inside node"),
            Ok(Task::Idle(NodesOptions {
                transport: Some(Transport::Zmq),
                quick: true,
                json: Some(PathBuf::from("out.json")),
                inside: Some(PathBuf::from("node")),
            }))
        );
        assert_eq!(
            parsed("bench --idle --transport mem"),
            Err("--idle --transport mem: it has no processes to measure".to_owned())
        );
    }

    #[test]
    fn mutants_takes_every_flag() {
        assert_eq!(parsed("mutants"), Ok(Task::Mutants(MutantsOptions::default())));
        assert_eq!(
            parsed("mutants --only ghost --with tests --matrix --markdown out.md"),
            Ok(Task::Mutants(MutantsOptions {
                only: Some("ghost".to_owned()),
                with: Some("tests".to_owned()),
                matrix: true,
                markdown: Some(PathBuf::from("out.md")),
            }))
        );
    }

    #[test]
    fn fuzz_takes_a_target_and_a_time() {
        let fuzz = |target: Option<&str>, minutes| {
            Ok(Task::Fuzz(FuzzOptions { target: target.map(str::to_owned), minutes }))
        };
        assert_eq!(parsed("fuzz"), fuzz(None, 5));
        assert_eq!(parsed("fuzz bus --minutes 60"), fuzz(Some("bus"), 60));
        assert_eq!(
            parsed("fuzz --minutes 0"),
            Err("--minutes 0: use a number from 1 to 10000".to_owned())
        );
        assert_eq!(parsed("fuzz bus keys"), Err("keys is one target too many".to_owned()));
    }

    #[test]
    fn refusals_say_what_would_be_right() {
        assert_eq!(
            parsed("demo --transport tcp"),
            Err("--transport tcp: use quic, zmq or mem".to_owned())
        );
        assert_eq!(
            parsed("demo --nodes 4"),
            Err("--nodes 4: use a number from 5 to 64".to_owned())
        );
        assert_eq!(parsed("demo --json"), Err("--json needs a value".to_owned()));
        assert_eq!(
            parsed("ci test"),
            Err("ci does not know test; it takes --without-tests".into())
        );
        assert_eq!(parsed("dance"), Err("there is no task dance".to_owned()));
    }

    #[test]
    fn ci_runs_the_tests_unless_told_not_to() {
        assert_eq!(parsed("ci"), Ok(Task::Ci { with_tests: true }));
        assert_eq!(parsed("ci --without-tests"), Ok(Task::Ci { with_tests: false }));
    }
}
