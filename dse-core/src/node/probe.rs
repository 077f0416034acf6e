//! Does the other end of a link live? (PROTOCOL.md §10.)
//!
//! One [`Prober`] a link, as pure as the protocol core: time is an argument, what is
//! to be done comes out of [`Prober::poll`]. It tells the peer that this node lives, if
//! that watches it, and listens to the peer in one of three ways. Whatever is heard is a
//! sign of life; a beat also says when the next will come. Only where neither came in
//! time a side pings, shortly before it would take the peer for dead. Lanes repeat what
//! gets lost, so one ping is enough.

#[cfg(test)]
mod tests;

use core::time::Duration;

use super::beats::Beats;
use super::limits::LATE;
use crate::protocol::{Instant, Listen, Watch};

/// How links are probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProbeConfig {
    /// Each node tells one of its watchers in each third of this that it lives. A closely
    /// watched peer that says nothing else is down after this much silence; who told when
    /// it will tell again has two thirds of it from then on.
    pub(crate) detect: Duration,
    /// A peer to whom nobody else listens is pinged after this much silence, and others
    /// that are not closely watched no sooner.
    pub(crate) alone_every: Duration,
    /// How long such a ping may take to be answered.
    pub(crate) patience: Duration,
    /// How long a peer has to answer when it is asked for.
    pub(crate) verdict: Duration,
    /// This end pings first where nothing is told; the other end waits a little longer, so
    /// that only one of the two pings. True at the end that dialled.
    pub(crate) leads: bool,
}

impl Default for ProbeConfig {
    fn default() -> Self {
        Self {
            detect: Duration::from_millis(1500),
            alone_every: Duration::from_secs(90),
            patience: Duration::from_secs(30),
            verdict: Duration::from_millis(400),
            leads: true,
        }
    }
}

/// What a [`Prober`] wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Tell the peer that this node lives, and in what time it will say so again; before
    /// all else that waits.
    Beat(Duration),
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
    listen: Listen,
    beats: Beats,
    /// After how much silence a lazily watched peer is pinged.
    lazy_every: Duration,
    /// This side does not read at present, so it can blame nobody.
    deaf: bool,
    heard_at: Instant,
    /// By its last beat the peer is not down before this.
    vouched: Instant,
    next_ping: Instant,
    /// When silence becomes a verdict.
    down_at: Instant,
    /// The number of the last ping and when it was sent; none before the first.
    pinged: Option<(u8, Instant)>,
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

/// Where both ends may ping, the one that does not lead waits this much longer.
const FOLLOWS_AFTER: Duration = Duration::from_secs(10);

/// After how much silence a lazily watched peer is pinged, by a node with so many links:
/// the pings of all of them together do not grow with their number.
pub(crate) fn lazy_every(config: &ProbeConfig, links: usize) -> Duration {
    config.alone_every.max(LAZY_EVERY_A_LINK * u32::try_from(links).unwrap_or(u32::MAX))
}

const LAZY_EVERY_A_LINK: Duration = Duration::from_secs(15);

impl Prober {
    /// Watches closely; the first ping is due at once, so that the round trip time is
    /// known. `now` and all times after it are of the node's clock, for its beats.
    pub(crate) fn new(config: ProbeConfig, now: Instant) -> Self {
        Self {
            config,
            listen: Listen::Close,
            beats: Beats::new(config.detect / 3),
            lazy_every: config.alone_every,
            deaf: false,
            heard_at: now,
            vouched: now,
            next_ping: now,
            down_at: now + config.detect,
            pinged: None,
            probe: None,
            probe_again: false,
        }
    }

    /// Something came from the peer at `at`, which may be in the past.
    pub(crate) fn heard(&mut self, at: Instant) {
        if at > self.heard_at {
            self.heard_at = at;
            self.not_down_before(at + self.window());
        }
    }

    /// The peer told that it lives and will say so again after `next`. It need not be
    /// believed for longer than a node may need to tell three in turn.
    pub(crate) fn beat(&mut self, next: Duration, now: Instant) {
        self.heard(now);
        let next = next.min(self.config.detect);
        self.vouched = self.vouched.max(now + next + self.config.detect * 2 / 3);
        if self.listen == Listen::Close {
            self.not_down_before(self.vouched);
        }
    }

    /// The peer answered a ping. Returns the round trip time, if it was the last one.
    pub(crate) fn pong(&mut self, id: u8, now: Instant) -> Option<Duration> {
        self.heard(now);
        let (last, sent_at) = self.pinged?;
        if let Some(Probe { ping: Some(asked), answered, until, .. }) = &mut self.probe {
            // The answer to a later ping is as good.
            if id.wrapping_sub(*asked) <= last.wrapping_sub(*asked) {
                *answered = true;
                *until = now;
            }
        }
        (id == last).then(|| now.since(sent_at))
    }

    /// Watches in this way from now on. A new window starts now.
    pub(crate) fn watch(&mut self, watch: Watch, now: Instant) {
        self.beats.set_turn(watch.beats, now);
        if watch.listen == self.listen {
            return;
        }
        self.listen = watch.listen;
        self.down_at = now + self.window();
        if self.listen == Listen::Close {
            self.down_at = self.down_at.max(self.vouched);
        }
        if !self.must_ping() {
            self.next_ping = self.ping_at();
        }
    }

    /// After how much silence a lazily watched peer is pinged, from the next sign of life on.
    pub(crate) fn set_lazy_every(&mut self, every: Duration) {
        self.lazy_every = every;
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
    /// nobody, and pings often, to be heard itself.
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
        let probe = self.probe.map(|probe| probe.until);
        self.beats.deadline().into_iter().chain(probe).fold(deadline, Instant::min)
    }

    /// The next thing to be done now; to be called until there is none. All that came
    /// in before `now` must have been told.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Act> {
        self.allow_for_lateness(now);
        if let Some(next) = self.beats.poll(now) {
            return Some(Act::Beat(next));
        }
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
        let id = self.pinged.map_or(1, |(last, _)| last.wrapping_add(1));
        self.pinged = Some((id, now));
        if let Some(Probe { ping: ping @ None, .. }) = &mut self.probe {
            *ping = Some(id);
        }
        self.next_ping = if self.deaf {
            now + self.config.detect / 3
        } else {
            self.ping_at().max(now + self.answer_time())
        };
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
        self.down_at = self.down_at.max(now) + late.min(self.window());
        if let Some(probe) = &mut self.probe {
            probe.until = probe.until.max(now) + late.min(self.config.verdict);
        }
    }

    /// Starts every window again.
    fn excuse(&mut self, now: Instant) {
        self.down_at = self.down_at.max(now + self.window());
        if let Some(probe) = &mut self.probe {
            probe.until = now + self.config.verdict;
        }
    }

    fn not_down_before(&mut self, at: Instant) {
        self.down_at = self.down_at.max(at);
        if !self.must_ping() {
            self.next_ping = self.next_ping.max(self.ping_at());
        }
    }

    /// A ping is due whatever is heard: the first, one that a probe waits for, or any while
    /// this side does not read. Then it does not answer pings: its own are what the peer
    /// hears.
    fn must_ping(&self) -> bool {
        self.deaf || self.pinged.is_none() || self.probe.is_some_and(|probe| probe.ping.is_none())
    }

    /// When silence makes this side ping: in time for an answer.
    fn ping_at(&self) -> Instant {
        let down_at = self.down_at.since(Instant::ZERO);
        Instant::ZERO + down_at.saturating_sub(self.answer_time())
    }

    /// How long the peer has to answer a ping that asks whether it is down.
    fn answer_time(&self) -> Duration {
        match self.listen {
            Listen::Close => self.config.verdict.min(self.config.detect / 3),
            Listen::Lazy | Listen::Alone if self.config.leads => self.config.patience,
            Listen::Lazy | Listen::Alone => self.config.patience - FOLLOWS_AFTER,
        }
    }

    /// How much silence makes the peer down, if it told nothing.
    fn window(&self) -> Duration {
        match self.listen {
            Listen::Close => self.config.detect,
            Listen::Lazy => self.lazy_every + self.config.patience,
            Listen::Alone => self.config.alone_every + self.config.patience,
        }
    }
}
