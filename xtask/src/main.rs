//! Development tasks of DSE: `cargo xtask <task>`.
//!
//! Depends on no other crate of the workspace: it drives them as processes, as a
//! user would.
#![forbid(unsafe_code)]

mod args;
mod bench;
mod ci;
mod coverage;
mod demo;
mod fleet;
mod fuzz;
mod mutants;
mod shell;
mod sim;
mod table;
mod test;

use std::process::ExitCode;

use args::Task;

fn main() -> ExitCode {
    let task = match args::parse(std::env::args().skip(1)) {
        Ok(task) => task,
        Err(error) => {
            eprintln!("error: {error}\n\n{}", args::USAGE);
            return ExitCode::from(2);
        }
    };
    let held = match task {
        Task::Help => {
            println!("{}", args::USAGE);
            Ok(true)
        }
        Task::Test => test::run(),
        Task::Ci { with_tests } => ci::run(with_tests),
        Task::Coverage => coverage::run(),
        Task::Mutants(options) => mutants::run(&options),
        Task::Demo(options) => demo::run(&options),
        Task::Bench { arguments } => bench::run(&arguments),
        Task::Idle(options) => bench::idle::run(&options),
        Task::Start(options) => bench::start::run(&options),
        Task::Sim { arguments } => sim::run(&arguments),
        Task::Fuzz(options) => fuzz::run(&options),
    };
    match held {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
