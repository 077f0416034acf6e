//! One round: A alone, A and B, A beside a stopped B.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::PAYLOAD;
use crate::pair::Half;

/// The processes.
pub(super) struct Parties {
    /// The publisher's number on this machine.
    pub(super) publisher: u32,
    pub(super) a: Half,
    pub(super) b: Half,
}

/// What a round found. Rates are samples a second at A.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) alone: f64,
    pub(super) both: f64,
    pub(super) stopped: f64,
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
        let alone = self.rate(window, &mut |_| Ok(()))?;

        let before = look(&mut self.b)?;
        self.b.ask("subscribe")?;
        let got = |look: &Look| look.received > before.received;
        await_look(&mut self.b, "B gets no samples", got)?;
        thread::sleep(SETTLE);
        let both = self.rate(window, &mut |_| Ok(()))?;

        let at_b = look(&mut self.b)?;
        let at_a = look(&mut self.a)?;
        let mut memory = Memory::of(self.publisher)?;
        self.signal_b(Signal::STOP)?;
        memory.watch(STALL_TIMEOUT + SETTLE)?;
        let stopped = self.rate(window, &mut |time| memory.watch(time))?;
        let published_bytes = self.await_published(at_a, &mut memory)?;
        self.signal_b(Signal::CONT)?;

        let back = self.await_back(at_b)?;
        self.b.ask("unsubscribe")?;
        let lost_by_a = look(&mut self.a)?.lost - begin.lost;
        let grown_bytes = memory.most - memory.before;
        Ok(Round { alone, both, stopped, published_bytes, grown_bytes, back, lost_by_a })
    }

    fn rate(
        &mut self,
        window: Duration,
        pass: &mut dyn FnMut(Duration) -> Result<()>,
    ) -> Result<f64> {
        let before = look(&mut self.a)?;
        let began = Instant::now();
        while let Some(left) = window.checked_sub(began.elapsed()) {
            thread::sleep(left.min(LOOK_EVERY));
            pass(Duration::ZERO)?;
        }
        let after = look(&mut self.a)?;
        let seconds = (after.at_us - before.at_us) as f64 / 1e6;
        Ok((after.received - before.received) as f64 / seconds)
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

/// The memory of a process.
struct Memory {
    status: String,
    before: u64,
    most: u64,
}

impl Memory {
    fn of(process: u32) -> Result<Self> {
        let status = format!("/proc/{process}/status");
        let before = resident_bytes(&status)?;
        Ok(Self { status, before, most: before })
    }

    /// Looks at it for so long, and once at least.
    fn watch(&mut self, time: Duration) -> Result<()> {
        let began = Instant::now();
        loop {
            self.most = self.most.max(resident_bytes(&self.status)?);
            let Some(left) = time.checked_sub(began.elapsed()).filter(|left| !left.is_zero())
            else {
                return Ok(());
            };
            thread::sleep(left.min(LOOK_EVERY));
        }
    }
}

fn resident_bytes(status: &str) -> Result<u64> {
    let text = fs::read_to_string(status).with_context(|| format!("cannot read {status}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kib.with_context(|| format!("{status} tells no VmRSS"))? * 1024)
}

/// How much is published to a stopped B.
const PUBLISHED_BYTES: u64 = 1 << 30;
/// The default of a node: so long a publisher with `Block` waits for one subscriber.
const STALL_TIMEOUT: Duration = Duration::from_secs(1);
/// What a change needs until its effect is there.
const SETTLE: Duration = Duration::from_millis(250);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long anything may take that has to happen.
const PATIENCE: Duration = Duration::from_secs(60);
