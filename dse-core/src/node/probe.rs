//! Does the other end of a link live? (PROTOCOL.md §10.)
//!
//! One [`Prober`] a link, as pure as the protocol core: time is an argument, what is
//! to be done comes out of [`Prober::poll`]. Whatever is heard from the peer is a
//! sign of life, so a side pings only after it heard nothing for the interval, and
//! the ping serves the other side too. Lanes repeat what gets lost, so one ping is
//! enough: it leaves the peer the last third of the window to answer.

use core::time::Duration;

use crate::protocol::{Instant, Watch};

/// How links are probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProbeConfig {
    /// Closely watched, a peer is down after this much silence; it is pinged after two
    /// thirds of it.
    pub(crate) detect: Duration,
    /// Lazily watched, a peer is pinged after this much silence.
    pub(crate) lazy_every: Duration,
    /// Lazily watched, a peer is down after this much silence.
    pub(crate) lazy_down: Duration,
    /// How long a peer has to answer when it is asked for.
    pub(crate) verdict: Duration,
    /// This end pings first; the other end waits a little longer, so that only one of
    /// the two pings. True at the end that dialled.
    pub(crate) leads: bool,
}

impl Default for ProbeConfig {
    fn default() -> Self {
        Self {
            detect: Duration::from_millis(1500),
            lazy_every: Duration::from_secs(90),
            lazy_down: Duration::from_secs(120),
            verdict: Duration::from_millis(400),
            leads: true,
        }
    }
}

/// What a [`Prober`] wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Send a ping with this number, before all else that waits.
    Ping(u8),
    /// The peer lives: the verdict that [`Prober::probe`] asked for.
    Probed,
    /// The peer is down: nothing was heard of it for this long.
    Silent(Duration),
    /// The peer is down: it did not answer a probe in time.
    Unanswered,
}

/// Watches one peer.
#[derive(Debug)]
pub(crate) struct Prober {
    config: ProbeConfig,
    watch: Watch,
    /// This side does not read at present, so it can blame nobody.
    deaf: bool,
    heard_at: Instant,
    next_ping: Instant,
    /// When silence becomes a verdict.
    down_at: Instant,
    /// The number of the last ping and when it was sent.
    pinged: (u8, Instant),
    probe: Option<Probe>,
    /// A probe was asked for while another was under way.
    probe_again: bool,
}

/// A probe on demand that is under way.
#[derive(Clone, Copy, Debug)]
struct Probe {
    /// Its ping, once that was given out.
    ping: Option<u8>,
    /// A pong came that can only have been sent after it began.
    answered: bool,
    /// When no answer becomes a verdict.
    until: Instant,
    /// Is a good outcome to be told?
    told: bool,
}

/// A timer that fires this late tells of a machine that stood still or is
/// overloaded; below, of the timer's grain.
const LATE: Duration = Duration::from_millis(50);

/// The end that does not lead waits for this part of the interval longer.
const FOLLOWS_AFTER: u32 = 16;

impl Prober {
    /// Watches closely; the first ping is due at once, so that the round trip time is
    /// known.
    pub(crate) fn new(config: ProbeConfig, now: Instant) -> Self {
        Self {
            config,
            watch: Watch::Close,
            deaf: false,
            heard_at: now,
            next_ping: now,
            down_at: now + config.detect,
            pinged: (0, now),
            probe: None,
            probe_again: false,
        }
    }

    /// Something came from the peer at `at`, which may be in the past.
    pub(crate) fn heard(&mut self, at: Instant) {
        if at <= self.heard_at {
            return;
        }
        self.heard_at = at;
        self.down_at = self.down_at.max(at + self.down_after());
        // Who does not read does not answer pings: its own pings are all the peer hears.
        let ping_due = self.probe.is_some_and(|probe| probe.ping.is_none());
        if !self.deaf && !ping_due {
            self.next_ping = self.next_ping.max(at + self.every());
        }
    }

    /// The peer answered a ping. Returns the round trip time, if it was the last one.
    pub(crate) fn pong(&mut self, id: u8, now: Instant) -> Option<Duration> {
        self.heard(now);
        let (last, sent_at) = self.pinged;
        if let Some(Probe { ping: Some(asked), answered, until, .. }) = &mut self.probe {
            // The answer to a later ping is as good.
            if id.wrapping_sub(*asked) <= last.wrapping_sub(*asked) {
                *answered = true;
                *until = now;
            }
        }
        (id == last).then(|| now.since(sent_at))
    }

    /// Watches in this way from now on. The new window starts now.
    pub(crate) fn watch(&mut self, watch: Watch, now: Instant) {
        if watch == self.watch {
            return;
        }
        self.watch = watch;
        self.next_ping = now.max(self.heard_at + self.every());
        self.down_at = now + self.down_after();
    }

    /// Asks for a verdict: [`Act::Probed`] or [`Act::Unanswered`].
    pub(crate) fn probe(&mut self, now: Instant) {
        // One that is under way proves only that the peer lived when it was asked.
        match self.probe {
            None => self.start_probe(now, true),
            Some(_) => self.probe_again = true,
        }
    }

    /// The transport suspects that the peer is gone: a probe of which only a bad
    /// outcome is told.
    pub(crate) fn hint(&mut self, now: Instant) {
        if self.probe.is_none() {
            self.start_probe(now, false);
        }
    }

    /// This side stopped reading, or reads again. While it does not read it blames
    /// nobody, and pings as if it watched closely, to be heard itself.
    pub(crate) fn set_deaf(&mut self, deaf: bool, now: Instant) {
        if deaf == self.deaf {
            return;
        }
        self.deaf = deaf;
        if deaf {
            self.next_ping = self.next_ping.min(now + self.config.detect / 3);
        } else {
            self.excuse(now);
        }
    }

    /// Does this side not read at present?
    pub(crate) fn is_deaf(&self) -> bool {
        self.deaf
    }

    /// When to call [`poll`](Self::poll) at the latest.
    pub(crate) fn deadline(&self) -> Instant {
        let deadline = self.next_ping.min(self.down_at);
        self.probe.map_or(deadline, |probe| deadline.min(probe.until))
    }

    /// The next thing to be done now; to be called until there is none. All that came
    /// in before `now` must have been told.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Act> {
        self.allow_for_lateness(now);
        if let Some(probe) = self.probe {
            if probe.answered || (now >= probe.until && self.heard_late_in(probe)) {
                self.probe = None;
                if core::mem::take(&mut self.probe_again) {
                    self.start_probe(now, true);
                }
                if probe.told {
                    return Some(Act::Probed);
                }
            } else if now >= probe.until {
                return Some(Act::Unanswered);
            }
        }
        if now >= self.down_at {
            return Some(Act::Silent(now.since(self.heard_at)));
        }
        (now >= self.next_ping).then(|| self.ping(now))
    }

    fn start_probe(&mut self, now: Instant, told: bool) {
        let until = now + self.config.verdict;
        self.probe = Some(Probe { ping: None, answered: false, until, told });
        self.next_ping = now;
    }

    /// Without an answer, only what came in the later half of the window proves life:
    /// what was in buffers when the probe began has been read by then.
    fn heard_late_in(&self, probe: Probe) -> bool {
        self.heard_at + self.config.verdict / 2 >= probe.until
    }

    fn ping(&mut self, now: Instant) -> Act {
        let id = self.pinged.0.wrapping_add(1);
        self.pinged = (id, now);
        if let Some(Probe { ping: ping @ None, .. }) = &mut self.probe {
            *ping = Some(id);
        }
        self.next_ping = now + if self.deaf { self.config.detect / 3 } else { self.every() };
        Act::Ping(id)
    }

    /// A node that stood still or is overloaded may have the answers in its buffers:
    /// every window grows by the time that its own timer was late.
    fn allow_for_lateness(&mut self, now: Instant) {
        if self.deaf {
            return self.excuse(now);
        }
        let late = now.since(self.deadline());
        if late < LATE {
            return;
        }
        self.down_at = self.down_at.max(now) + late.min(self.down_after());
        if let Some(probe) = &mut self.probe {
            probe.until = probe.until.max(now) + late.min(self.config.verdict);
        }
    }

    /// Starts every window again.
    fn excuse(&mut self, now: Instant) {
        self.down_at = now + self.down_after();
        if let Some(probe) = &mut self.probe {
            probe.until = now + self.config.verdict;
        }
    }

    fn every(&self) -> Duration {
        let every = match self.watch {
            Watch::Close => self.config.detect * 2 / 3,
            Watch::Lazy => self.config.lazy_every,
        };
        if self.config.leads { every } else { every + every / FOLLOWS_AFTER }
    }

    fn down_after(&self) -> Duration {
        match self.watch {
            Watch::Close => self.config.detect,
            Watch::Lazy => self.config.lazy_down,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(acts, [(1001, Act::Ping(2)), (1501, silent)]);
    }

    #[test]
    fn lazily_watched_silence_is_down_after_120_s() {
        let mut prober = prober();
        prober.watch(Watch::Lazy, at(1));
        let silent = Act::Silent(Duration::from_secs(120));
        let acts = run(&mut prober, 200_000);
        assert_eq!(acts, [(90_001, Act::Ping(2)), (120_001, silent)]);
    }

    #[test]
    fn who_hears_does_not_ping() {
        let mut prober = prober();
        for ms in (1..60_000).step_by(999) {
            prober.heard(at(ms));
            assert_eq!(prober.poll(at(ms)), None);
        }
    }

    #[test]
    fn the_ping_of_the_end_that_leads_serves_both() {
        let follows = ProbeConfig { leads: false, ..ProbeConfig::default() };
        let (mut a, mut b) = (prober(), prober_with(follows));
        let mut pings = 0;
        for ms in 2..10_000 {
            if let Some(Act::Ping(id)) = a.poll(at(ms)) {
                b.heard(at(ms));
                a.pong(id, at(ms + 1));
                pings += 1;
            }
            assert_eq!(b.poll(at(ms)), None, "it hears of the other in time");
        }
        assert_eq!(pings, 9, "one each second is enough");
    }

    #[test]
    fn the_end_that_follows_pings_if_the_other_does_not() {
        let follows = ProbeConfig { leads: false, ..ProbeConfig::default() };
        let acts = run(&mut prober_with(follows), 10_000);
        assert_eq!(acts.first(), Some(&(1063, Act::Ping(2))));
        assert_eq!(acts.last().map(|(ms, _)| *ms), Some(1501));
    }

    #[test]
    fn traffic_in_the_past_counts_from_when_it_came() {
        let mut prober = prober();
        prober.heard(at(300));
        prober.heard(at(200));
        assert_eq!(prober.deadline(), at(1300));
    }

    #[test]
    fn a_change_to_close_watching_starts_a_window_and_pings() {
        let mut prober = prober();
        prober.watch(Watch::Lazy, at(1));
        prober.watch(Watch::Close, at(10_000));
        let acts = run(&mut prober, 100_000);
        assert_eq!(acts.first(), Some(&(10_000, Act::Ping(2))));
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
        prober.watch(Watch::Lazy, at(1));
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
        run(&mut prober, 1001);
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
        prober.watch(Watch::Lazy, at(1));
        prober.set_deaf(true, at(2));
        let acts = run(&mut prober, 200_000);
        assert!(acts.iter().all(|(_, act)| matches!(act, Act::Ping(_))), "{acts:?}");
        assert_eq!(acts.len(), 399);
        prober.set_deaf(false, at(200_000));
        assert!(prober.deadline() > at(200_000) && prober.deadline() <= at(200_000) + PING);
    }
}
