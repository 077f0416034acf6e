//! The story: what is done to the nodes, and what must come of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::cast::{self, BOARD, LATE, LOG_KEY, LOGS, MACHINE, VICTIM};
use super::feed;
use super::stage::{PATIENCE, Stage, ms_between};
use crate::fleet::journal::{Line, now_ns};
use crate::table::grouped;

/// One step of the story.
pub(super) struct Step {
    /// Its name in the report.
    pub(super) name: &'static str,
    /// What is shown while it runs.
    pub(super) title: &'static str,
    pub(super) play: fn(&mut Stage) -> Result<Told>,
    /// How long the control bus must be still before the next step.
    pub(super) still: Duration,
    pub(super) count: Count,
}

/// How a step's control messages are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    /// What all nodes sent.
    Sent,
    /// What all nodes sent and received: each message went between a node and one that
    /// has no counters to be read, an asker or a node that is gone.
    BothWays,
    /// There must be none.
    Nothing,
}

/// What came of a step that held.
pub(super) struct Told {
    /// The time that the step is about.
    pub(super) ms: u64,
    /// One sentence for the terminal.
    pub(super) note: String,
}

/// The steps in their order.
pub(super) const STEPS: [Step; 9] = [
    step("discover", "nodes find each other", discover),
    step("data", "data flows", data),
    step("change", "a node exposes something new", change),
    Step { still: Duration::from_secs(1), ..step("late", "a late node sees present states", late) },
    Step { count: Count::Nothing, ..step("idle", "10 s of silence on the control bus", idle) },
    step("crash", "a node is killed with SIGKILL", crash),
    step("return", "it returns as a new incarnation", come_back),
    Step { count: Count::BothWays, ..step("leave", "a node leaves gracefully", leave) },
    Step { count: Count::BothWays, ..step("request", "a request is answered", request) },
];

const fn step(
    name: &'static str,
    title: &'static str,
    play: fn(&mut Stage) -> Result<Told>,
) -> Step {
    Step { name, title, play, still: Duration::from_millis(300), count: Count::Sent }
}

fn discover(stage: &mut Stage) -> Result<Told> {
    let start = stage.fleet.journal.len();
    let names = cast::first_act(stage.nodes);
    let began = now_ns();
    for name in &names {
        stage.launch(name)?;
    }
    for name in &names {
        stage.await_ready(name, start)?;
    }
    let mut wishes = BTreeSet::new();
    for name in &names {
        for (_, tag) in stage.all_but(name) {
            wishes.insert((tag.clone(), name.clone(), None));
            wishes.extend(
                cast::keys(name).into_iter().map(|key| (tag.clone(), name.clone(), Some(key))),
            );
        }
    }
    let known = stage.await_all(start, wishes, |line| {
        let key = match line.event()? {
            "node_up" => None,
            "declared" => Some(line.text("key")?.to_owned()),
            _ => return None,
        };
        Some((line.tag.clone(), line.text("node")?.to_owned(), key))
    })?;
    let ms = ms_between(began, known);
    let note =
        format!("{} nodes started together, each knew all others and their keys", names.len());
    Ok(Told { ms, note })
}

fn data(stage: &mut Stage) -> Result<Told> {
    let board = stage.tag(BOARD)?;
    let mut missing: BTreeSet<String> =
        cast::first_act(stage.nodes).into_iter().filter(|name| name != BOARD).collect();
    let began = now_ns();
    let mut lines = Vec::new();
    let newest = stage.fleet.journal.follow(0, PATIENCE, |line| {
        let key = line.sample_key().filter(|_| line.tag == board)?;
        missing.remove(line.text("node")?);
        if key == LOG_KEY {
            let (number, written_ns) = feed::read_line(line.text("payload")?)?;
            lines.push(number);
            let fresh = written_ns > began && missing.is_empty();
            return fresh.then_some((written_ns, line.heard_ns));
        }
        None
    });
    let what = missing.first().map_or("fresh lines of the file", String::as_str);
    let (written_ns, heard_ns) =
        newest.with_context(|| format!("the board has nothing of {what}"))?;
    ensure!(lines.is_sorted_by(|a, b| a + 1 == *b), "lines of the file are missing: {lines:?}");
    let note = format!("values, this machine and {} lines of a file, none lost", lines.len());
    Ok(Told { ms: ms_between(written_ns, heard_ns), note })
}

fn change(stage: &mut Stage) -> Result<Told> {
    let start = stage.fleet.journal.len();
    let victim = stage.tag(VICTIM)?;
    stage.fleet.tell(&victim, &format!("set {NEW_KEY} 42"))?;
    let known = stage.await_news(start, VICTIM, "declared", Some(NEW_KEY))?;
    let set = stage.fleet.journal.follow(start, PATIENCE, |line| {
        let told = line.tag == victim && line.event() == Some("set");
        told.then(|| line.happened_ns())
    });
    let set = set.context("the node does not say when it exposed the value")?;
    stage.later_keys.insert((VICTIM.to_owned(), NEW_KEY.to_owned()));
    Ok(Told { ms: ms_between(set, known), note: format!("everyone knew {NEW_KEY}") })
}

fn late(stage: &mut Stage) -> Result<Told> {
    let start = stage.fleet.journal.len();
    let mut states: BTreeSet<_> = stage.later_keys.clone();
    for name in cast::first_act(stage.nodes).iter().filter(|name| *name != LOGS) {
        states.extend(cast::keys(name).into_iter().map(|key| (name.clone(), key)));
    }
    let count = states.len();
    let began = stage.launch(LATE)?;
    let ready = stage.await_ready(LATE, start)?;
    let tag = stage.tag(LATE)?;
    let mut last = ready;
    let all = stage.fleet.journal.follow(start, PATIENCE, |line| {
        let key = line.sample_key().filter(|_| line.tag == tag)?;
        // Published before the late node was there: the present value, not a new one.
        if line.number("time_ns").is_some_and(|at| at < began)
            && states.remove(&(line.text("node")?.to_owned(), key.to_owned()))
        {
            last = last.max(line.heard_ns);
        }
        states.is_empty().then_some(())
    });
    ensure!(
        all.is_some(),
        "{} present values did not come, first {:?}",
        states.len(),
        states.first()
    );
    let known = stage.await_news(start, LATE, "node_up", None)?;
    let joined = ms_between(began, known);
    let note = format!("{count} present values; from its start until all knew it: {joined} ms");
    Ok(Told { ms: ms_between(ready, last), note })
}

fn idle(stage: &mut Stage) -> Result<Told> {
    let start = stage.fleet.journal.len();
    let began = Instant::now();
    let shown = std::io::stdout().is_terminal();
    while let Some(left) = IDLE.checked_sub(began.elapsed()) {
        if shown {
            print!("\r  silence for {:2} more seconds ", left.as_secs() + 1);
            std::io::stdout().flush().context("the terminal is gone")?;
        }
        thread::sleep(left.min(Duration::from_millis(500)));
    }
    if shown {
        print!("\r{:40}\r", "");
    }
    let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let board = stage.tag(BOARD)?;
    let mut samples = 0_u64;
    stage.fleet.journal.review(start, |line| {
        samples += u64::from(line.tag == board && line.sample_key() == Some(LOG_KEY));
    });
    ensure!(samples > 0, "no line of the file came meanwhile");
    Ok(Told { ms, note: format!("meanwhile {samples} lines of the file came through") })
}

fn crash(stage: &mut Stage) -> Result<Told> {
    let start = stage.fleet.journal.len();
    let victim = stage.tag(VICTIM)?;
    let killed = stage.fleet.kill(&victim)?;
    let known = stage.await_news(start, VICTIM, "node_down", None)?;
    stage.launched.remove(VICTIM);
    let ms = ms_between(killed, known);
    // Told, not judged: a busy machine is no broken promise. Who is not watched closely
    // is missed after minutes, far later than anything here may take.
    let promise = grouped(CRASH_KNOWN_MS);
    let note = if ms <= CRASH_KNOWN_MS {
        format!("everyone knew, within the promised {promise} ms")
    } else {
        format!("everyone knew, LATER than the promised {promise} ms: is this machine busy?")
    };
    Ok(Told { ms, note })
}

fn come_back(stage: &mut Stage) -> Result<Told> {
    let start = stage.fleet.journal.len();
    let before = stage.incarnations.iter().filter(|(tag, _)| tag.starts_with(VICTIM));
    let before = before.map(|(_, incarnation)| *incarnation).max().unwrap_or(0);
    let began = stage.launch(VICTIM)?;
    stage.await_ready(VICTIM, start)?;
    let tag = stage.tag(VICTIM)?;
    let incarnation = stage.incarnations.get(&tag).copied().unwrap_or(0);
    ensure!(incarnation > before, "incarnation {incarnation} does not follow {before}");
    let wishes = stage.all_but(VICTIM).into_iter().map(|(_, tag)| (tag, incarnation)).collect();
    let known = stage.await_all(start, wishes, |line| {
        let up = line.event() == Some("node_up") && line.text("node") == Some(VICTIM);
        up.then(|| line.number("incarnation")).flatten().map(|number| (line.tag.clone(), number))
    })?;
    stage.later_keys.retain(|(name, _)| name != VICTIM);
    let note = format!("from its start until everyone knew incarnation {incarnation}");
    Ok(Told { ms: ms_between(began, known), note })
}

fn leave(stage: &mut Stage) -> Result<Told> {
    let start = stage.fleet.journal.len();
    let leaver = stage.tag(LOGS)?;
    let told = now_ns();
    stage.fleet.tell(&leaver, "leave")?;
    let known = stage.await_news(start, LOGS, "node_left", None)?;
    stage.fleet.await_end(&leaver, start)?;
    let mut crashed = false;
    let down = |line: &Line| line.event() == Some("node_down") && line.text("node") == Some(LOGS);
    stage.fleet.journal.review(start, |line| crashed |= down(line));
    ensure!(!crashed, "some node took the leave for a crash");
    stage.launched.remove(LOGS);
    Ok(Told {
        ms: ms_between(told, known),
        note: "everyone knew that it left, nobody saw a crash".into(),
    })
}

fn request(stage: &mut Stage) -> Result<Told> {
    let members = stage.launched.len() as u64;
    let began = now_ns();
    let answer = stage.fleet.ask("ls", &["**"])?;
    let ms = ms_between(began, now_ns());
    let (expected, answered) = (answer["expected"].as_u64(), answer["answered"].as_u64());
    ensure!(
        expected == Some(members) && answered == Some(members),
        "{} of {} answered, of {members} nodes",
        answer["answered"],
        answer["expected"]
    );
    ensure!(
        answer["missing"].as_array().is_some_and(Vec::is_empty),
        "missing: {}",
        answer["missing"]
    );
    let found = check_declarations(stage, &answer["declarations"])?;
    let note =
        format!("{members} of {members} answered, {found} declarations, no ghost among them");
    Ok(Told { ms, note })
}

/// The answer must hold what the present nodes expose, and nothing of those that are
/// gone. Returns how many declarations there are.
fn check_declarations(stage: &Stage, declarations: &Value) -> Result<usize> {
    let mut found = BTreeMap::new();
    for declaration in declarations.as_array().context("the answer has no declarations")? {
        let text = |field: &str| declaration[field].as_str().unwrap_or_default().to_owned();
        let twice = found.insert((text("node"), text("key")), declaration["incarnation"].as_u64());
        ensure!(twice.is_none(), "{} of {} is there twice", text("key"), text("node"));
    }
    for ((node, key), incarnation) in &found {
        let tag =
            stage.launched.get(node).with_context(|| format!("{key} of {node} is a ghost"))?;
        let present = stage.incarnations.get(tag).copied();
        ensure!(present == *incarnation, "{key} of {node} is of incarnation {incarnation:?}");
    }
    let own = stage
        .launched
        .keys()
        .flat_map(|name| cast::keys(name).into_iter().map(|key| (name.clone(), key)));
    for expected in own.chain(stage.later_keys.iter().cloned()) {
        ensure!(found.contains_key(&expected), "{} of {} is not found", expected.1, expected.0);
    }
    ensure!(found.keys().any(|(node, _)| node == MACHINE), "nothing of {MACHINE} is found");
    Ok(found.len())
}

/// What the README promises of a killed node, on a machine that has time for it.
pub(super) const CRASH_KNOWN_MS: u64 = 2_000;

const IDLE: Duration = Duration::from_secs(10);

const NEW_KEY: &str = "site/site-1/visitors";
