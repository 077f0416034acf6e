//! A network of its own for what is measured, and its counters.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::shell;

/// A command that runs this one in a new network namespace.
pub(super) fn apart(command: &[&Path]) -> Command {
    let mut unshare = Command::new("unshare");
    // As its own root, so that this needs no privileges where the system allows that.
    unshare.args(["--map-root-user", "--net"]).args(command);
    unshare
}

/// Why no network namespace can be had here, if so.
pub(super) fn refusal() -> Option<String> {
    let mut trial = apart(&["ip", "link", "set", "lo", "up"].map(Path::new));
    shell::output_of(&mut trial).err().map(|error| format!("{error:#}"))
}

/// The loopback device of the namespace in which this process is.
pub(super) struct Loopback;

impl Loopback {
    /// Switches it on.
    pub(super) fn up() -> Result<Self> {
        shell::output_of(Command::new("ip").args(["link", "set", "lo", "up"]))?;
        Ok(Self)
    }

    /// All that was sent on it so far.
    pub(super) fn sent(&self) -> Result<Traffic> {
        let text = fs::read_to_string("/proc/self/net/dev").context("cannot read the counters")?;
        Traffic::of_loopback(&text).context("/proc/self/net/dev has no line for lo")
    }
}

/// What went over a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traffic {
    /// Whole packets, with the 14 bytes that stand for an Ethernet header.
    pub(super) bytes: u64,
    pub(super) packets: u64,
}

impl Traffic {
    /// Reads the sending half of the line for `lo`: what is sent there comes in, too.
    fn of_loopback(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix("lo:"))?;
        let mut numbers = line.split_whitespace().skip(RECEIVE_COLUMNS).map(str::parse);
        let (bytes, packets): (u64, u64) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some(Self { bytes: bytes + ETHERNET_BYTES * packets, packets })
    }

    pub(super) fn since(self, before: Self) -> Self {
        Self { bytes: self.bytes - before.bytes, packets: self.packets - before.packets }
    }
}

/// The CPU time that a process took so far, in milliseconds.
pub(super) fn cpu_ms(process: u32) -> Result<u64> {
    let file = format!("/proc/{process}/stat");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
    let ticks = cpu_ticks(&text);
    ensure!(ticks.is_some(), "{file} is not as expected");
    Ok(ticks.unwrap_or_default() * MS_A_TICK)
}

/// User and system time: the 14th and 15th field. The second is the program's name in
/// parentheses, which may hold anything.
fn cpu_ticks(text: &str) -> Option<u64> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    Some(times.next()?.ok()? + times.next()?.ok()?)
}

const RECEIVE_COLUMNS: usize = 8;

/// The header of a packet, which the loopback device does not count.
const ETHERNET_BYTES: u64 = 14;

/// Linux counts a hundred ticks a second, whatever its own clock does.
const MS_A_TICK: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sending_half_of_loopback_is_read() {
        let text = "Inter-|   Receive\n face |bytes\n  eth0: 1 2 3 4 5 6 7 8 9 10 11\n    \
                    lo: 100 8 0 0 0 0 0 0 101 9 0 0 0 0 0 0\n";
        assert_eq!(Traffic::of_loopback(text), Some(Traffic { bytes: 101 + 9 * 14, packets: 9 }));
        assert_eq!(Traffic::of_loopback("  eth0: 1 2"), None);
    }

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let text = "7 (a) b) S 1 7 7 0 -1 4194560 106 0 0 0 31 11 0 0 20 0 1 0 5";
        assert_eq!(cpu_ticks(text), Some(42));
        assert_eq!(cpu_ticks("7 (a) S"), None);
    }
}
