//! A link as publishers see it: the frame that is being collected for it, who waits for
//! room in that frame, and which publisher each alias stands for.
//!
//! Lock order: a link's writer, a publisher's sequencer, then a link's outbox or aliases.
//! Whoever holds an outbox takes no other lock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use tokio::sync::watch;

use super::counters::{Counters, count};
use super::limits::{ALIASES_PER_LINK, FRAME_BYTES, FRAME_SPARE_BYTES};
use super::lock;
use super::meter::Meter;
use super::reader::LaneError;
use super::sequencer::Sequencer;
use super::writer::Writer;
use crate::data::{Credit, DataFrame, FrameWriter};
use crate::protocol::{Incarnation, Key, LinkId, NodeId};

/// The sending side of a link.
pub(super) struct Link {
    pub(super) id: LinkId,
    /// Of two links with one node the later has the higher. Their ids do not tell: they are
    /// given before it is decided which one opens.
    pub(super) order: u64,
    /// Who is at the other end.
    pub(super) node: NodeId,
    pub(super) peer_incarnation: Incarnation,
    pub(super) counters: Arc<Counters>,
    outbox: Mutex<Outbox>,
    aliases: Mutex<Aliases>,
    /// None once the link is gone.
    writer: Mutex<Option<Writer>>,
    closing: watch::Sender<Closing>,
    failed: AtomicBool,
}

/// How far a link is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Closing {
    /// It is up.
    Open,
    /// The peer left: nothing is sent any more, what it sent before is still read.
    Draining,
    /// It is gone.
    Gone,
}

impl Link {
    pub(super) fn new(
        id: LinkId,
        order: u64,
        node: NodeId,
        incarnation: Incarnation,
        counters: Arc<Counters>,
        writer: Writer,
    ) -> Self {
        Self {
            id,
            order,
            node,
            peer_incarnation: incarnation,
            counters,
            outbox: Mutex::default(),
            aliases: Mutex::default(),
            writer: Mutex::new(Some(writer)),
            closing: watch::Sender::new(Closing::Open),
            failed: AtomicBool::new(false),
        }
    }

    /// Writes until the link fails. For one task.
    pub(super) async fn write(&self) -> LaneError {
        std::future::poll_fn(|cx| match &mut *lock(&self.writer) {
            Some(writer) => writer.poll(cx, self),
            None => Poll::Pending,
        })
        .await
    }

    /// Writes in the place of the task that rests and was taken from the outbox.
    pub(super) fn write_for(&self, task: &Waker) {
        // Who holds the writer may wait for a lock that the caller's like holds, so this
        // must not wait.
        match self.writer.try_lock() {
            Ok(mut writer) => {
                if let Some(writer) = &mut *writer {
                    writer.send_for(task, self);
                }
            }
            Err(_) => task.wake_by_ref(),
        }
    }

    pub(super) fn outbox(&self) -> MutexGuard<'_, Outbox> {
        lock(&self.outbox)
    }

    /// Closes it as far as this says, if it is not further already.
    pub(super) fn close(&self, closing: Closing) {
        self.closing.send_if_modified(|now| {
            let further = closing > *now;
            *now = closing.max(*now);
            further
        });
    }

    /// Is this the first failure of the link?
    pub(super) fn fails_first(&self) -> bool {
        !self.failed.swap(true, Ordering::Relaxed)
    }

    pub(super) fn closing(&self) -> watch::Receiver<Closing> {
        self.closing.subscribe()
    }

    /// The next frame, with as many of `credits` as fit. If there is none, the writing
    /// task rests. `ticking` says that its timer runs.
    pub(super) fn next_frame(
        &self,
        credits: &mut VecDeque<Credit>,
        task: &Waker,
        ticking: bool,
    ) -> Next {
        let (frame, samples) = {
            let mut outbox = self.outbox();
            outbox.write_credits(credits);
            let Some(frame) = outbox.frame.take() else {
                return outbox.rest(task, ticking);
            };
            (frame, std::mem::take(&mut outbox.samples))
        };
        count(&self.counters.samples_sent, samples);
        count(&self.counters.data_bytes_sent, frame.wire_len() as u64);
        Next::Frame(frame)
    }

    /// Lets publishers write that waited for room, in the order in which they came, and
    /// those whose routes are to change.
    ///
    /// # Errors
    /// The peer holds every alias there is.
    pub(super) fn serve(&self) -> Result<(), AliasesExhausted> {
        let waiting = {
            let outbox = self.outbox();
            if outbox.turns.is_empty() && outbox.calls.is_empty() && !outbox.exhausted {
                return Ok(());
            }
            outbox.turns.len()
        };
        for _ in 0..waiting {
            let turn = {
                let mut outbox = self.outbox();
                if !outbox.has_room(0) {
                    return Ok(());
                }
                outbox.turns.pop_front()
            };
            let Some(turn) = turn else { break };
            turn.sequencer.take_turn(self.id, turn.alias);
        }
        loop {
            let calling = self.outbox().pop_call()?;
            let Some(sequencer) = calling else { return Ok(()) };
            sequencer.apply_changes();
        }
    }

    /// A publisher's routes are to change: the writer sees to it, or after its end
    /// [`forget`](Self::forget), unless the publisher itself comes first. Tells whether one
    /// of them still will.
    pub(super) fn call(&self, sequencer: Arc<Sequencer>) -> bool {
        let mut outbox = self.outbox();
        if !outbox.forgotten {
            outbox.calls.insert(sequencer.key.clone(), sequencer);
            outbox.wake();
        }
        !outbox.forgotten
    }

    /// A credit that waits for company: it goes with the next frame, or alone after
    /// [`CREDIT_DELAY`](super::limits::CREDIT_DELAY).
    pub(super) fn credit_later(&self, meter: Arc<Meter>) {
        let mut outbox = self.outbox();
        if !outbox.closed {
            outbox.later.push(meter);
            if !outbox.armed {
                outbox.wake();
            }
        }
    }

    /// A credit that goes at once.
    pub(super) fn credit_now(&self, meter: Arc<Meter>) {
        let mut outbox = self.outbox();
        if !outbox.closed {
            outbox.now.push(meter);
            outbox.wake();
        }
    }

    /// Moves the meters whose credit is to be sent; with `tick`, those that were waiting
    /// for company too. Returns whether some had waited that found company.
    pub(super) fn take_meters(&self, tick: bool, into: &mut Vec<Arc<Meter>>) -> bool {
        let mut outbox = self.outbox();
        into.append(&mut outbox.now);
        let company = !into.is_empty() || !outbox.frame.is_empty();
        let found = company && !outbox.later.is_empty();
        if tick || company {
            into.append(&mut outbox.later);
        }
        outbox.armed &= !tick;
        found
    }

    /// Takes an alias for a publisher. None if the link is closed, or must be because the
    /// peer holds every alias there is.
    pub(super) fn take_alias(&self, owner: Arc<Sequencer>) -> Option<u32> {
        let alias = lock(&self.aliases).take(owner);
        let closed = {
            let mut outbox = self.outbox();
            outbox.exhausted |= alias.is_none();
            outbox.wake();
            outbox.closed
        };
        // Whoever closes the link marks that first and empties the aliases then.
        if let Some(alias) = alias
            && closed
        {
            self.free_alias(alias);
            return None;
        }
        alias
    }

    /// The publisher that an alias stands for.
    pub(super) fn alias_owner(&self, alias: u32) -> Option<Arc<Sequencer>> {
        lock(&self.aliases).owners.get(alias as usize)?.clone()
    }

    /// The peer is done with an alias.
    pub(super) fn free_alias(&self, alias: u32) {
        lock(&self.aliases).free(alias);
    }

    /// Credits that wait for company go at once.
    pub(super) fn hurry_credits(&self) {
        let mut outbox = self.outbox();
        let later = std::mem::take(&mut outbox.later);
        outbox.now.extend(later);
        outbox.wake();
    }

    /// Ready once all there was to send has gone to the transport, or the link is closed.
    /// For one task.
    pub(super) fn poll_idle(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut outbox = self.outbox();
        if outbox.closed || outbox.writer.is_some() {
            return Poll::Ready(());
        }
        outbox.idle = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Nothing is sent any more; what was sent may still be confirmed.
    pub(super) fn stop_writing(&self) {
        let mut rest = {
            let mut outbox = self.outbox();
            let (calls, forgotten) = (std::mem::take(&mut outbox.calls), outbox.forgotten);
            let closed = Outbox { calls, closed: true, forgotten, ..Outbox::default() };
            std::mem::replace(&mut *outbox, closed)
        };
        rest.idle.take().into_iter().for_each(Waker::wake);
        drop(rest);
        let writer = lock(&self.writer).take();
        drop(writer);
        let owners = lock(&self.aliases).owners.clone();
        for owner in owners.into_iter().flatten() {
            owner.link_severed(self);
        }
    }

    /// Nothing comes any more either: publishers forget the link.
    pub(super) fn forget(&self) {
        let calls = {
            let mut outbox = self.outbox();
            outbox.forgotten = true;
            std::mem::take(&mut outbox.calls)
        };
        // Else those that publish nothing would hold on to the link, and that its peer withdrew
        // before would be taken for a loss.
        calls.into_values().for_each(|sequencer| sequencer.apply_changes());
        let owners = std::mem::take(&mut *lock(&self.aliases)).owners;
        for owner in owners.into_iter().flatten() {
            owner.link_gone(self.id);
        }
    }
}

/// What [`Link::next_frame`] found.
pub(super) enum Next {
    /// Something to send.
    Frame(DataFrame),
    /// More to do before there is a frame.
    Again,
    /// Nothing but credits that wait for company.
    Later,
    /// Nothing.
    Idle,
}

/// All aliases of a link are taken: the peer does not confirm that sequences ended.
#[derive(Debug)]
pub(super) struct AliasesExhausted;

/// What waits to be sent on a link.
#[derive(Default)]
pub(super) struct Outbox {
    pub(super) frame: FrameWriter,
    /// How many samples the frame holds.
    pub(super) samples: u64,
    /// Routes that wait for room, first come, first served.
    turns: VecDeque<Turn>,
    /// Publishers whose routes are to change.
    calls: BTreeMap<Key, Arc<Sequencer>>,
    exhausted: bool,
    now: Vec<Arc<Meter>>,
    later: Vec<Arc<Meter>>,
    /// The writer's timer runs, so `later` will be seen to.
    armed: bool,
    /// The writer, while it has nothing to do.
    writer: Option<Waker>,
    /// Who waits until the writer has nothing to do.
    idle: Option<Waker>,
    closed: bool,
    /// No publisher holds on to the link any more, and none is to begin to.
    forgotten: bool,
}

/// A route that waits for room.
struct Turn {
    sequencer: Arc<Sequencer>,
    alias: u32,
}

impl Outbox {
    /// May a record with `payload` bytes be written?
    pub(super) fn has_room(&self, payload: usize) -> bool {
        self.frame.is_empty() || self.frame.len() + payload <= FRAME_BYTES
    }

    /// Does somebody else wait for room?
    pub(super) fn has_line(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Joins the line of those who wait for room.
    pub(super) fn line_up(&mut self, sequencer: Arc<Sequencer>, alias: u32) {
        self.turns.push_back(Turn { sequencer, alias });
    }

    /// The writing task, if it rests: whoever takes it wakes it or works in its place.
    pub(super) fn take_task(&mut self) -> Option<Waker> {
        self.writer.take()
    }

    /// Wakes the writing task if it rests.
    pub(super) fn wake(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    fn pop_call(&mut self) -> Result<Option<Arc<Sequencer>>, AliasesExhausted> {
        if self.exhausted {
            return Err(AliasesExhausted);
        }
        let call = if self.has_room(0) { self.calls.pop_first() } else { None };
        Ok(call.map(|(_, sequencer)| sequencer))
    }

    fn write_credits(&mut self, credits: &mut VecDeque<Credit>) {
        let end = self.frame.len().max(FRAME_BYTES) + FRAME_SPARE_BYTES;
        while self.frame.len() < end
            && let Some(credit) = credits.pop_front()
        {
            self.frame.credit(credit);
        }
    }

    fn rest(&mut self, writer: &Waker, ticking: bool) -> Next {
        if !(self.turns.is_empty() && self.calls.is_empty() && self.now.is_empty()) {
            return Next::Again;
        }
        self.writer = Some(writer.clone());
        self.idle.take().into_iter().for_each(Waker::wake);
        self.armed = ticking || !self.later.is_empty();
        if self.later.is_empty() { Next::Idle } else { Next::Later }
    }
}

/// Which publisher each alias stands for.
#[derive(Default)]
struct Aliases {
    owners: Vec<Option<Arc<Sequencer>>>,
    free: Vec<u32>,
}

impl Aliases {
    fn take(&mut self, owner: Arc<Sequencer>) -> Option<u32> {
        if let Some(alias) = self.free.pop() {
            self.owners[alias as usize] = Some(owner);
            return Some(alias);
        }
        if self.owners.len() == ALIASES_PER_LINK {
            return None;
        }
        self.owners.push(Some(owner));
        Some(self.owners.len() as u32 - 1)
    }

    fn free(&mut self, alias: u32) {
        let owner = self.owners.get_mut(alias as usize);
        if owner.and_then(Option::take).is_some() {
            self.free.push(alias);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::limits::ROUTES_PER_LINK;
    use super::super::{PlaneConfig, loopback};
    use super::*;
    use crate::node::publisher::Overflow;
    use crate::protocol::{Declaration, Kind};

    fn link(number: u64, node: &NodeId) -> Arc<Link> {
        // Nobody writes, as when the peer reads nothing.
        let writer = Writer::new(loopback::lane().0, Duration::from_secs(1));
        let counters = Arc::<Counters>::default();
        let link =
            Link::new(LinkId(number), number, node.clone(), Incarnation(1), counters, writer);
        Arc::new(link)
    }

    #[test]
    fn links_that_fell_leave_nothing_with_publishers_that_are_silent() {
        let node = NodeId::new("a").expect("a node id");
        let config = PlaneConfig {
            node: node.clone(),
            incarnation: Incarnation(1),
            stall_timeout: Duration::from_secs(1),
        };
        let declaration = Declaration::new(Key::new("x").expect("a key"), Kind::Stream, "");
        let overflow = Overflow::DropOldest;
        let sequencer = Sequencer::new(declaration, overflow, 0, 0, &config, Arc::default());
        let sequencer = Arc::new(sequencer);
        for number in 0..100 {
            let link = link(number, &node);
            let fallen = Arc::downgrade(&link);
            let change = |wanted| sequencer.change_route(&link, wanted);
            // The peer wants the key, and may want it no more, before it falls or after.
            match number % 5 {
                0 => change(true),
                1 => {
                    // It confirms samples, and no end.
                    for alias in 0..=ROUTES_PER_LINK as u32 {
                        change(true);
                        sequencer.offer(&mut "x".into()).expect("it goes on");
                        let consumed_seq = sequencer.last_seq();
                        let credit = Credit { alias, consumed_seq, window: 64 };
                        let known = sequencer.credit(&link, credit).is_ok();
                        assert_eq!(known, alias < ROUTES_PER_LINK as u32);
                        change(!known);
                        sequencer.apply_changes();
                    }
                }
                _ => {}
            }
            link.stop_writing();
            if number % 5 == 2 {
                change(true);
                change(false);
            }
            link.forget();
            if number % 5 == 3 {
                change(true);
            }
            drop(link);
            assert!(fallen.upgrade().is_none(), "link {number} is held");
        }
    }
}
