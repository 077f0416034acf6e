//! A whole bus of nodes that keep the protocol, and what befalls it.

use std::time::Duration;

use dse_sim::play::Play;
use dse_sim::schedule::{Act, GUESTS, LEAVES, NOTICES, PATTERNS, Who};
use dse_sim::setup::{Seeding, Setup, Tunables};
use dse_sim::world::Clock;

use crate::source::Source;

/// Plays a schedule on the simulated bus. The bytes decide what the random schedules of
/// `cargo xtask sim` leave to chance: the world and every act. The simulator holds each
/// step against the laws, and at the end, when all faults are over, the bus itself.
pub fn schedule(data: &[u8]) {
    let mut source = Source::new(data);
    let nodes = 2 + source.below(3);
    let mut play =
        Play::new(source.number(), setup(&mut source, nodes), (0..nodes).collect(), false);
    for member in 0..nodes {
        perform(&mut play, &start(&mut source, Who::Member(member)));
    }
    for _ in 0..MOST_ACTS {
        if source.is_used_up() {
            break;
        }
        perform(&mut play, &act(&mut source, nodes));
    }
    play.calm();
}

fn perform(play: &mut Play, act: &Act) {
    crate::tell(|| format!("{act:?}"));
    play.act(act);
}

fn setup(source: &mut Source<'_>, nodes: usize) -> Setup {
    let us = Duration::from_micros;
    let latencies = [(1000, 1000), (10, 10), (200, 40_000), (50, 2000), (5000, 150_000)];
    let (least, most) = source.pick(&latencies);
    Setup {
        nodes,
        latency: (us(least), us(most)),
        tunables: (0..1 + source.below(3)).map(|_| tunables(source)).collect(),
        seeding: source.pick(&[Seeding::Ring, Seeding::Star, Seeding::All]),
        dead_endpoints: source.once_in(4),
        clocks_go_back: source.once_in(4),
        clocks: (0..nodes).map(|_| clock(source)).collect(),
    }
}

fn tunables(source: &mut Source<'_>) -> Tunables {
    let ms = Duration::from_millis;
    Tunables {
        detect: ms(source.pick(&[1500, 600, 10_000])),
        forget_after: Duration::from_secs(source.pick(&[600, 30, 3])),
        redial: (ms(source.pick(&[100, 10, 500])), ms(source.pick(&[10_000, 1000, 3000]))),
        guests_max: source.pick(&[64, 1, 0]),
        tight: source.once_in(3),
    }
}

fn clock(source: &mut Source<'_>) -> Clock {
    if !source.once_in(4) {
        return Clock::default();
    }
    let offset_ns = source.pick(&[1, 1 << 20, 1 << 40]);
    Clock { offset_ns, drift_ppm: source.pick(&[0, 30_000, -30_000]) }
}

fn act(source: &mut Source<'_>, nodes: usize) -> Act {
    let kind = source.below(31);
    if kind < 8 {
        return Act::Wait(pause(source));
    }
    let (who, other) = (anybody(source, nodes), Who::Member(source.below(nodes)));
    match kind {
        8..=10 => start(source, who),
        11 | 12 => Act::Crash(who, source.pick(&NOTICES)),
        13 => Act::Leave(who),
        14 => Act::Pause(who),
        15 => Act::Freeze(who),
        16 | 17 => Act::Resume(who),
        18 => Act::Block(who, other),
        19 => Act::Partition(source.bits()),
        20 => Act::Heal,
        21 => Act::Break(who, other),
        22 => Act::HalfOpen(who, other),
        23 => Act::Slow(who, other, Duration::from_millis(source.below(4000) as u64)),
        24 => Act::Undeclare(who, source.below(LEAVES.len())),
        25 => Act::Subscribe(who, source.below(PATTERNS.len())),
        26 => Act::Unsubscribe(who, source.below(4)),
        27 => Act::Request(who, source.below(PATTERNS.len()), pause(source)),
        28 => match source.below(8) {
            0 => Act::Bulk(who, source.once_in(2)),
            1..=3 => Act::Stats(who, other),
            _ => Act::Hint(who, other),
        },
        29 => Act::Lose(who, other),
        _ => Act::Declare(who, source.below(LEAVES.len()), source.below(5) as u64),
    }
}

fn anybody(source: &mut Source<'_>, nodes: usize) -> Who {
    match source.below(10) {
        9 => Who::Twin(source.below(nodes)),
        8 => Who::Guest(source.below(GUESTS)),
        _ => Who::Member(source.below(nodes)),
    }
}

fn start(source: &mut Source<'_>, who: Who) -> Act {
    let declared = source.below(1 << LEAVES.len());
    Act::Start(who, (0..LEAVES.len()).filter(|leaf| declared & (1 << leaf) != 0).collect())
}

/// Mostly short, so that things happen while others are under way.
fn pause(source: &mut Source<'_>) -> Duration {
    let most = source.pick(&[2, 20, 20, 300, 300, 1500, 8000, 60_000]);
    Duration::from_micros(source.below(most * 1000) as u64)
}

const MOST_ACTS: usize = 100;
