//! Both ends of a link in virtual time, without the link.

use super::*;
use crate::protocol::BeatTurn;

const LAZY: Watch = Watch { listen: Listen::Lazy, beats: None };
const CLOSE: Watch = Watch { listen: Listen::Close, beats: None };
const ALONE: Watch = Watch { listen: Listen::Alone, beats: None };

/// The interval of pings while this side does not read.
const PING: Duration = Duration::from_millis(500);

fn at(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

/// A prober that has sent its first ping at 0 and got the answer at 1 ms.
fn prober() -> Prober {
    prober_with(ProbeConfig::default())
}

fn prober_with(config: ProbeConfig) -> Prober {
    let mut prober = Prober::new(config, at(0));
    assert_eq!(prober.poll(at(0)), Some(Act::Ping(1)));
    assert_eq!(prober.pong(1, at(1)), Some(Duration::from_millis(1)));
    prober
}

/// Runs timers as they come due; what they did, with when in milliseconds.
fn run(prober: &mut Prober, until: u64) -> Vec<(u64, Act)> {
    let mut acts = Vec::new();
    while prober.deadline() <= at(until) {
        let now = prober.deadline();
        while let Some(act) = prober.poll(now) {
            acts.push((now.as_nanos() / 1_000_000, act));
            if matches!(act, Act::Silent(_) | Act::Unanswered) {
                return acts;
            }
        }
    }
    acts
}

#[test]
fn closely_watched_silence_is_pinged_and_down_after_detect() {
    let silent = Act::Silent(Duration::from_millis(1500));
    let acts = run(&mut prober(), 10_000);
    assert_eq!(acts, [(1101, Act::Ping(2)), (1501, silent)]);
}

#[test]
fn the_first_ping_is_sent_whatever_came_before() {
    let mut prober = Prober::new(ProbeConfig::default(), at(0));
    prober.beat(Duration::from_millis(500), at(1));
    prober.watch(LAZY, at(1));
    assert_eq!(prober.poll(at(1)), Some(Act::Ping(1)));
}

#[test]
fn who_told_when_it_will_tell_again_has_two_thirds_of_detect_from_then() {
    let mut prober = prober();
    prober.beat(Duration::from_millis(1500), at(100));
    let silent = Act::Silent(Duration::from_millis(2500));
    assert_eq!(run(&mut prober, 10_000), [(2200, Act::Ping(2)), (2600, silent)]);
}

#[test]
fn what_is_no_beat_vouches_for_detect_only() {
    let mut prober = prober();
    prober.beat(Duration::from_millis(500), at(100));
    prober.heard(at(1000));
    assert_eq!(run(&mut prober, 10_000).last().map(|(ms, _)| *ms), Some(2500));
}

#[test]
fn nobody_vouches_for_itself_for_long() {
    let mut prober = prober();
    prober.beat(Duration::from_secs(65), at(100));
    assert_eq!(run(&mut prober, 100_000).last().map(|(ms, _)| *ms), Some(2600));
}

#[test]
fn a_beat_that_came_before_the_watch_counts() {
    let mut prober = prober();
    prober.watch(LAZY, at(1));
    prober.beat(Duration::from_millis(1500), at(100));
    prober.watch(CLOSE, at(200));
    assert_eq!(run(&mut prober, 10_000).last().map(|(ms, _)| *ms), Some(2600));
}

#[test]
fn lazily_watched_silence_is_down_after_120_s() {
    for watch in [LAZY, ALONE] {
        let mut prober = prober();
        prober.watch(watch, at(1));
        let silent = Act::Silent(Duration::from_secs(120));
        let acts = run(&mut prober, 200_000);
        assert_eq!(acts, [(90_001, Act::Ping(2)), (120_001, silent)]);
    }
}

#[test]
fn the_more_links_the_more_seldom_a_lazy_one_is_pinged() {
    let config = ProbeConfig::default();
    assert_eq!(lazy_every(&config, 3), Duration::from_secs(90));
    assert_eq!(lazy_every(&config, 31), Duration::from_secs(465));
    for (watch, pinged, down) in [(LAZY, 465_001, 495_001), (ALONE, 90_001, 120_001)] {
        let mut prober = prober();
        prober.set_lazy_every(lazy_every(&config, 31));
        prober.watch(watch, at(1));
        let times: Vec<u64> = run(&mut prober, 600_000).iter().map(|(ms, _)| *ms).collect();
        assert_eq!(times, [pinged, down]);
    }
}

#[test]
fn who_hears_does_not_ping() {
    let mut prober = prober();
    for ms in (1..60_000).step_by(1099) {
        prober.heard(at(ms));
        assert_eq!(prober.poll(at(ms)), None);
    }
}

#[test]
fn where_both_watch_lazily_the_ping_of_the_end_that_leads_serves_both() {
    let follows = ProbeConfig { leads: false, ..ProbeConfig::default() };
    let (mut a, mut b) = (prober(), prober_with(follows));
    a.watch(LAZY, at(1));
    b.watch(LAZY, at(1));
    let mut pings = 0;
    for ms in 2..1_000_000 {
        if let Some(Act::Ping(id)) = a.poll(at(ms)) {
            b.heard(at(ms));
            a.pong(id, at(ms + 1));
            pings += 1;
        }
        assert_eq!(b.poll(at(ms)), None, "it hears of the other in time");
    }
    assert_eq!(pings, 11, "one each 90 s is enough");
}

#[test]
fn the_end_that_follows_pings_if_the_other_does_not() {
    let follows = ProbeConfig { leads: false, ..ProbeConfig::default() };
    let mut prober = prober_with(follows);
    prober.set_lazy_every(Duration::from_secs(40_000));
    prober.watch(LAZY, at(1));
    let acts = run(&mut prober, u64::MAX / 2_000_000);
    assert_eq!(acts.first(), Some(&(40_010_001, Act::Ping(2))));
    assert_eq!(acts.last().map(|(ms, _)| *ms), Some(40_030_001));
}

/// A node that tells three, by its probers, and theirs; a frame takes a millisecond.
struct Told {
    node: [Prober; 3],
    watchers: [Prober; 3],
    /// What is under way to each watcher: when it comes and what it is.
    coming: [Vec<(u64, Act)>; 3],
    beats: [u32; 3],
    pings: u32,
}

impl Told {
    fn new() -> Self {
        let mut node = [0, 1, 2].map(|_| prober());
        for (number, prober) in (0..).zip(&mut node) {
            let beats = Some(BeatTurn { number, of: 3 });
            prober.watch(Watch { listen: Listen::Lazy, beats }, at(1));
        }
        let watchers = [0, 1, 2].map(|_| prober());
        Self { node, watchers, coming: Default::default(), beats: [0; 3], pings: 0 }
    }

    /// A millisecond passes, in which the node moves or not. Tells whether a watcher
    /// takes it for dead.
    fn step(&mut self, ms: u64, moves: bool) -> bool {
        let mut down = false;
        for link in 0..3 {
            let (node, watcher) = (&mut self.node[link], &mut self.watchers[link]);
            let coming = &mut self.coming[link];
            while moves && let Some(act) = node.poll(at(ms)) {
                self.beats[link] += u32::from(matches!(act, Act::Beat(_)));
                coming.push((ms + 1, act));
            }
            while coming.first().is_some_and(|(due, _)| *due <= ms) {
                match coming.remove(0).1 {
                    Act::Beat(next) => watcher.beat(next, at(ms)),
                    Act::Ping(id) => drop(watcher.pong(id, at(ms))),
                    act => panic!("the node blames its watcher: {act:?}"),
                }
            }
            while let Some(act) = watcher.poll(at(ms)) {
                match act {
                    // A node that moves answers; its answer is the ping come back.
                    Act::Ping(id) if moves => coming.push((ms + 2, Act::Ping(id))),
                    Act::Ping(_) => {}
                    _ => down = true,
                }
                self.pings += u32::from(matches!(act, Act::Ping(_)));
                if down {
                    break;
                }
            }
        }
        down
    }
}

#[test]
fn three_are_told_in_turn_and_none_of_them_asks() {
    let mut told = Told::new();
    assert!((2..60_100).all(|ms| !told.step(ms, true)));
    assert_eq!(told.beats, [41, 41, 41], "one each 1500 ms, and one at once");
    assert_eq!(told.pings, 0);
}

#[test]
fn of_three_that_are_told_one_finds_a_death_in_time_but_none_in_haste() {
    for died in (6000..7500).step_by(29) {
        let mut told = Told::new();
        let found = (2..).find(|ms| told.step(*ms, *ms < died));
        let took = found.expect("an endless range") - died;
        assert!((1000..=1502).contains(&took), "dead at {died}, found after {took} ms");
    }
}

#[test]
fn traffic_with_all_watchers_does_not_put_off_a_death() {
    for died in (6000..7500).step_by(29) {
        let mut told = Told::new();
        let found = (2..).find(|ms| {
            let lives = *ms < died;
            told.watchers.iter_mut().filter(|_| lives).for_each(|it| it.heard(at(*ms)));
            told.step(*ms, lives)
        });
        let took = found.expect("an endless range") - died;
        assert!(took <= 1502, "dead at {died}, found after {took} ms");
    }
}

#[test]
fn who_stands_still_for_900_ms_is_not_blamed_and_then_found_in_time_if_it_dies() {
    for still in (6000..7500).step_by(29) {
        let mut told = Told::new();
        let moves = |ms: u64| !(still..still + 900).contains(&ms);
        assert!((2..10_000).all(|ms| !told.step(ms, moves(ms))), "still at {still}");
        // It comes back, says so to all and dies: the late beats promise no more than
        // those in time did.
        let died = still + 901;
        let mut told = Told::new();
        let found = (2..).find(|ms| told.step(*ms, *ms < died && moves(*ms)));
        let took = found.expect("an endless range") - died;
        assert!(took <= 1502, "dead at {died}, found after {took} ms");
    }
}

#[test]
fn traffic_in_the_past_counts_from_when_it_came() {
    let mut prober = prober();
    prober.heard(at(300));
    prober.heard(at(200));
    assert_eq!(prober.deadline(), at(1400));
}

#[test]
fn a_change_to_close_watching_starts_a_window() {
    let mut prober = prober();
    prober.watch(LAZY, at(1));
    prober.watch(CLOSE, at(10_000));
    let acts = run(&mut prober, 100_000);
    assert_eq!(acts.first(), Some(&(11_100, Act::Ping(2))));
    assert_eq!(acts.last(), Some(&(11_500, Act::Silent(Duration::from_millis(11_499)))));
}

#[test]
fn a_probe_is_answered_by_its_pong_only() {
    let mut prober = prober();
    prober.probe(at(100));
    assert_eq!(prober.poll(at(100)), Some(Act::Ping(2)));
    prober.heard(at(101));
    prober.pong(1, at(102));
    assert_eq!(prober.poll(at(102)), None);
    prober.pong(2, at(103));
    assert_eq!(prober.poll(at(103)), Some(Act::Probed));
    assert_eq!(prober.poll(at(103)), None);
}

#[test]
fn an_unanswered_probe_is_a_verdict_after_400_ms() {
    let mut prober = prober();
    prober.watch(LAZY, at(1));
    prober.probe(at(100));
    // What was in the buffers already.
    prober.heard(at(150));
    assert_eq!(run(&mut prober, 10_000), [(100, Act::Ping(2)), (500, Act::Unanswered)]);
}

#[test]
fn fresh_traffic_answers_a_probe_at_its_end() {
    let mut prober = prober();
    prober.probe(at(100));
    assert_eq!(prober.poll(at(100)), Some(Act::Ping(2)));
    prober.heard(at(350));
    assert_eq!(run(&mut prober, 500), [(500, Act::Probed)]);
}

#[test]
fn a_probe_during_a_hints_probe_asks_anew() {
    let mut prober = prober();
    prober.hint(at(100));
    assert_eq!(prober.poll(at(100)), Some(Act::Ping(2)));
    prober.probe(at(110));
    prober.pong(2, at(120));
    assert_eq!(prober.poll(at(120)), Some(Act::Ping(3)), "the hint's outcome is not told");
    prober.pong(3, at(130));
    assert_eq!(prober.poll(at(130)), Some(Act::Probed));
}

#[test]
fn a_late_timer_blames_nobody() {
    let mut prober = prober();
    run(&mut prober, 1101);
    // The machine slept through the verdict at 1501.
    assert_eq!(prober.poll(at(60_000)), Some(Act::Ping(3)));
    let acts = run(&mut prober, 100_000);
    assert_eq!(acts.last().map(|(ms, _)| *ms), Some(61_500));
}

#[test]
fn a_late_timer_extends_a_probe() {
    let mut prober = prober();
    prober.probe(at(100));
    assert_eq!(prober.poll(at(100)), Some(Act::Ping(2)));
    assert_eq!(prober.poll(at(700)), None);
    prober.pong(2, at(800));
    assert_eq!(prober.poll(at(800)), Some(Act::Probed));
}

#[test]
fn who_does_not_read_pings_and_blames_nobody() {
    let mut prober = prober();
    prober.watch(LAZY, at(1));
    prober.set_deaf(true, at(2));
    let acts = run(&mut prober, 200_000);
    assert!(acts.iter().all(|(_, act)| matches!(act, Act::Ping(_))), "{acts:?}");
    assert_eq!(acts.len(), 399);
    prober.set_deaf(false, at(200_000));
    assert!(prober.deadline() > at(200_000) && prober.deadline() <= at(200_000) + PING);
}
