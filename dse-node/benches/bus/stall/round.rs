//! One round: A alone, A and B, A beside a stopped B.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::PAYLOAD;
use super::process::{Memory, cpu_ms};
use crate::figures::ratio;
use crate::pair::Half;

/// The processes.
pub(super) struct Parties {
    /// The publisher's number on this machine.
    pub(super) publisher: u32,
    pub(super) a: Half,
    pub(super) b: Half,
}

/// What a round found.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) alone: Phase,
    pub(super) both: Phase,
    pub(super) stopped: Phase,
    /// How much A got while B was stopped: at least so much was published.
    pub(super) published_bytes: u64,
    /// The most that the publisher's memory was above what it was before.
    pub(super) grown_bytes: u64,
    /// How long after it woke B had been told of its gap and had another sample; none if it
    /// was not.
    pub(super) back: Option<Duration>,
    /// What A was told that it lost.
    pub(super) lost_by_a: u64,
}

/// What was measured in a phase.
#[derive(Debug)]
pub(super) struct Phase {
    /// Samples that A got.
    pub(super) per_s: f64,
    /// The CPU time of the publisher and A for each of them, which tells work from waiting
    /// for a busy machine.
    pub(super) cpu_us: f64,
}

/// What a subscriber says of itself.
#[derive(Clone, Copy)]
struct Look {
    at_us: u64,
    received: u64,
    gaps: u64,
    lost: u64,
}

impl Parties {
    /// Lets A subscribe.
    pub(super) fn begin(&mut self) -> Result<()> {
        self.a.ask("subscribe")?;
        await_look(&mut self.a, "A gets no samples", |look| look.received > 0).map(drop)
    }

    /// Measures one round with windows of this length.
    pub(super) fn round(&mut self, window: Duration) -> Result<Round> {
        let begin = look(&mut self.a)?;
        thread::sleep(SETTLE);
        let alone = self.phase(window, || Ok(()))?;

        let before = look(&mut self.b)?;
        self.b.ask("subscribe")?;
        let got = |look: &Look| look.received > before.received;
        await_look(&mut self.b, "B gets no samples", got)?;
        thread::sleep(SETTLE);
        let both = self.phase(window, || Ok(()))?;

        let at_b = look(&mut self.b)?;
        let at_a = look(&mut self.a)?;
        let mut memory = Memory::of(self.publisher)?;
        self.signal_b(Signal::STOP)?;
        memory.watch(STALL_TIMEOUT + SETTLE)?;
        let stopped = self.phase(window, || memory.watch(Duration::ZERO))?;
        let published_bytes = self.await_published(at_a, &mut memory)?;
        self.signal_b(Signal::CONT)?;

        let back = self.await_back(at_b)?;
        self.b.ask("unsubscribe")?;
        let lost_by_a = look(&mut self.a)?.lost - begin.lost;
        let grown_bytes = memory.most - memory.before;
        Ok(Round { alone, both, stopped, published_bytes, grown_bytes, back, lost_by_a })
    }

    /// Measures for the time of a window, and does this all the while.
    fn phase(&mut self, window: Duration, mut also: impl FnMut() -> Result<()>) -> Result<Phase> {
        let (before, cpu) = (look(&mut self.a)?, self.cpu_ms()?);
        let began = Instant::now();
        while let Some(left) = window.checked_sub(began.elapsed()) {
            thread::sleep(left.min(LOOK_EVERY));
            also()?;
        }
        let (after, cpu) = (look(&mut self.a)?, self.cpu_ms()?.saturating_sub(cpu));
        let seconds = (after.at_us - before.at_us) as f64 / 1e6;
        let samples = (after.received - before.received) as f64;
        Ok(Phase { per_s: ratio(samples, seconds), cpu_us: ratio(cpu as f64 * 1e3, samples) })
    }

    fn cpu_ms(&self) -> Result<u64> {
        Ok(cpu_ms(self.publisher)? + cpu_ms(self.a.id())?)
    }

    /// Waits until A has got as many bytes as are to be published to a stopped B.
    fn await_published(&mut self, since: Look, memory: &mut Memory) -> Result<u64> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let received = look(&mut self.a)?.received - since.received;
            let bytes = received * PAYLOAD as u64;
            if bytes >= PUBLISHED_BYTES {
                return Ok(bytes);
            }
            if Instant::now() > deadline {
                bail!("A got only {bytes} bytes while B was stopped");
            }
            memory.watch(LOOK_EVERY)?;
        }
    }

    /// Waits until B has been told of its gap, and has had another sample after that.
    fn await_back(&mut self, before: Look) -> Result<Option<Duration>> {
        let woken = Instant::now();
        let mut told = None;
        while woken.elapsed() < PATIENCE {
            let look = look(&mut self.b)?;
            match told {
                None if look.gaps > before.gaps => told = Some(look.received),
                Some(then) if look.received > then => return Ok(Some(woken.elapsed())),
                _ => thread::sleep(LOOK_EVERY),
            }
        }
        Ok(None)
    }

    fn signal_b(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.b.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("B has no number")?, signal).context("cannot signal B")
    }
}

fn look(subscriber: &mut Half) -> Result<Look> {
    let said = subscriber.ask("look")?;
    let number = |field: &str| {
        let number = said.get(field).and_then(serde_json::Value::as_u64);
        number.with_context(|| format!("a subscriber does not tell {field}"))
    };
    Ok(Look {
        at_us: number("at_us")?,
        received: number("received")?,
        gaps: number("gaps")?,
        lost: number("lost")?,
    })
}

fn await_look(subscriber: &mut Half, or: &'static str, is: impl Fn(&Look) -> bool) -> Result<Look> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let look = look(subscriber)?;
        if is(&look) {
            return Ok(look);
        }
        thread::sleep(LOOK_EVERY);
    }
    bail!(or)
}

/// How much is published to a stopped B.
const PUBLISHED_BYTES: u64 = 1 << 30;
/// The default of a node: so long a publisher with `Block` waits for one that takes nothing.
const STALL_TIMEOUT: Duration = Duration::from_secs(5);
/// What a change needs until its effect is there.
const SETTLE: Duration = Duration::from_millis(250);
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long anything may take that has to happen.
const PATIENCE: Duration = Duration::from_secs(60);
