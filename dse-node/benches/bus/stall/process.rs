//! What the system tells of a process.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::round::LOOK_EVERY;

/// The memory of a process.
pub(super) struct Memory {
    status: String,
    pub(super) before: u64,
    pub(super) most: u64,
}

impl Memory {
    pub(super) fn of(process: u32) -> Result<Self> {
        let status = format!("/proc/{process}/status");
        let before = resident_bytes(&status)?;
        Ok(Self { status, before, most: before })
    }

    /// Looks at it for so long, and once at least.
    pub(super) fn watch(&mut self, time: Duration) -> Result<()> {
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

/// The CPU time that a process took so far: user and system time, the 14th and 15th field.
/// The second is the program's name in parentheses, which may hold anything.
pub(super) fn cpu_ms(process: u32) -> Result<u64> {
    let file = format!("/proc/{process}/stat");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
    let (_, fields) = text.rsplit_once(')').with_context(|| format!("{file} is odd"))?;
    let times: Vec<u64> =
        fields.split_whitespace().skip(11).take(2).filter_map(|it| it.parse().ok()).collect();
    Ok(times.iter().sum::<u64>() * MS_A_TICK)
}

/// Linux counts a hundred ticks a second, whatever its own clock does.
const MS_A_TICK: u64 = 10;
