//! `cargo xtask demo`: the story of the bus, told with real nodes and counted, beside
//! the periodic broadcast that DSE replaces.

mod cast;
mod feed;
mod report;
mod stage;
mod story;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::args::DemoOptions;
use crate::fleet::counters::Counters;
use crate::fleet::{Fleet, Scratch, Setting};
use crate::shell;
use crate::table::grouped;
use report::{Report, StepReport};
use stage::Stage;
use story::{Count, STEPS, Step, Told};

/// Builds dse-node and tells the story. True when every step held.
///
/// # Errors
/// The build failed, or the report cannot be written.
pub(crate) fn run(options: &DemoOptions) -> Result<bool> {
    println!("building dse-node");
    let build = ["build", "--release", "-p", "dse-node", "--bin", "dse-node", "--locked"];
    let program = shell::build_program("dse-node", build)?;
    let began = Instant::now();
    let DemoOptions { transport, nodes, .. } = *options;

    let mut steps = Vec::new();
    if !options.baseline_only {
        println!("\nThe control bus: {nodes} nodes over {transport}\n");
        steps = tell(&program, options, Run::Bus)?;
    }
    println!("\nThe old way: the same nodes, each announcing all it has every second\n");
    let baseline = tell(&program, options, Run::Periodic { like: &steps })?;
    if options.baseline_only {
        steps.clone_from(&baseline);
    }

    let report = Report { transport: transport.to_string(), nodes, steps, baseline };
    println!("\n{}\ntold in {:.0} s", report.text(), began.elapsed().as_secs_f64());
    if let Some(file) = &options.json {
        let text = format!("{:#}\n", report.json());
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(report.held())
}

/// Which bus is run.
#[derive(Clone, Copy)]
enum Run<'a> {
    /// The bus as it is.
    Bus,
    /// Nodes that repeat their announcements on a timer as well, each step for as long
    /// as the same step took before.
    Periodic { like: &'a [StepReport] },
}

/// Plays all steps; those after one that failed are not reached.
fn tell(program: &Path, options: &DemoOptions, run: Run<'_>) -> Result<Vec<StepReport>> {
    let (folder, reannounce_ms, like) = match run {
        Run::Bus => ("demo", None, [].as_slice()),
        Run::Periodic { like } => ("periodic", Some(PERIOD_MS), like),
    };
    let scratch = Scratch::new(folder)?;
    let setting = Setting {
        program: program.to_owned(),
        transport: options.transport,
        folder: scratch.path(),
        reannounce_ms,
    };
    let mut stage = Stage::new(Fleet::new(setting)?, options.nodes)?;

    let mut reports: Vec<StepReport> = Vec::new();
    for (number, step) in STEPS.iter().enumerate() {
        let reached = reports.iter().all(|report| report.ok);
        let least = like.get(number).map_or(Duration::ZERO, |report| report.took);
        reports.push(if reached { play(&mut stage, step, least) } else { not_reached(step) });
    }
    Ok(reports)
}

/// Plays one step, waits until the bus is still again, and counts what it cost.
fn play(stage: &mut Stage, step: &Step, least: Duration) -> StepReport {
    let began = Instant::now();
    let outcome = (step.play)(stage).and_then(|told| {
        stage.settle(step.still)?;
        thread::sleep(least.saturating_sub(began.elapsed()));
        let cost = stage.cost()?;
        let silent = cost.messages_sent == 0 && cost.messages_received == 0;
        let must_be_silent = step.count == Count::Nothing && !stage.fleet.is_baseline();
        ensure!(
            silent || !must_be_silent,
            "{} control messages were sent and {} received",
            cost.messages_sent,
            cost.messages_received
        );
        Ok((told, cost))
    });
    let took = began.elapsed();
    match outcome {
        Ok((told, cost)) => held(step, &told, cost, took),
        Err(error) => {
            println!("  FAILED  {:<9} {}: {error:#}", step.name, step.title);
            StepReport { took, ..not_reached(step) }
        }
    }
}

fn held(step: &Step, told: &Told, cost: Counters, took: Duration) -> StepReport {
    let (control_messages, control_bytes) = match step.count {
        // Nothing went between the nodes themselves meanwhile, else it counts double: the
        // figure is never too small.
        Count::BothWays => {
            (cost.messages_sent + cost.messages_received, cost.bytes_sent + cost.bytes_received)
        }
        Count::Sent | Count::Nothing => (cost.messages_sent, cost.bytes_sent),
    };
    let (ms, messages) = (grouped(told.ms), grouped(control_messages));
    let samples = grouped(cost.samples_received);
    println!(
        "  ok  {:<9} {}: {ms} ms; {} ({messages} control messages, {samples} samples)",
        step.name, step.title, told.note
    );
    StepReport { name: step.name, ok: true, ms: told.ms, control_messages, control_bytes, took }
}

fn not_reached(step: &Step) -> StepReport {
    let took = Duration::ZERO;
    StepReport { name: step.name, ok: false, ms: 0, control_messages: 0, control_bytes: 0, took }
}

/// The period of the old system's broadcast.
const PERIOD_MS: u64 = 1_000;
