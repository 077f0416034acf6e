//! The task that reads a link's data lane: samples into queues, credits to publishers. It
//! never waits for an application.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use super::counters::count;
use super::inlet::Inlet;
use super::limits::{ALIASES_PER_LINK, DRAIN_TIMEOUT, HEAD_BYTES, LAST_FRAMES, STATE_BYTES};
use super::link::{Closing, Link};
use super::meter::Meter;
use super::stage::Stage;
use super::{LOOPBACK, Table};
use crate::data::{
    Begin, Body, Credit, DataFrame, End, EndReason, FrameError, Record, Sample, Skip,
};
use crate::protocol::{Incarnation, limits};
use crate::transport::{DataReceiver, TransportError};

/// Why a data lane cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// The transport says so.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The peer sent a frame that cannot be read.
    #[error("the peer sent a data frame that cannot be read: {0}")]
    Frame(#[from] FrameError),
    /// The peer put more records into a frame than a reader may be kept busy with.
    #[error("the peer sent a data frame with a head of {len} bytes; {HEAD_BYTES} is the most")]
    HeadTooLong {
        /// Its length, in bytes.
        len: usize,
    },
    /// The peer sent a record that cannot be true.
    #[error("the peer broke the protocol of the data lane: {0}")]
    Record(#[from] RecordFault),
    /// The peer does not confirm that sequences ended.
    #[error("the peer holds {ALIASES_PER_LINK} sequences and confirms the end of none")]
    AliasesExhausted,
}

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// Nothing was begun under the alias.
    #[error("alias {0} stands for nothing")]
    UnknownAlias(u32),
    /// Something was begun under the alias and has not ended.
    #[error("alias {0} was begun twice")]
    AliasTaken(u32),
    /// The alias was begun again before this node confirmed the end of what it stood for.
    #[error("alias {0} was begun again before its end was confirmed")]
    AliasUnconfirmed(u32),
    /// Aliases are small numbers.
    #[error("alias {0} is larger than any that this node allows")]
    AliasTooLarge(u32),
    /// A sequence goes up.
    #[error("the sequence of alias {alias} goes back from {last_seq} to {seq}")]
    Backwards {
        /// The alias.
        alias: u32,
        /// The last number before.
        last_seq: u64,
        /// The number that came.
        seq: u64,
    },
    /// The sequence is of another incarnation than the link.
    #[error("alias {alias} is of incarnation {incarnation}, the link's peer is not")]
    Incarnation {
        /// The alias.
        alias: u32,
        /// The incarnation that it names.
        incarnation: Incarnation,
    },
    /// The name of the encoding is too long.
    #[error("the encoding of alias {0} is longer than 127 bytes")]
    EncodingTooLong(u32),
    /// The present values of states are more than a node keeps for one link.
    #[error("with alias {0}, the states on this link hold more than {STATE_BYTES} bytes")]
    StatesTooLong(u32),
    /// More is confirmed than was sent.
    #[error("alias {alias} is confirmed up to {consumed_seq}, and was sent only up to {sent_seq}")]
    CreditAhead {
        /// The alias.
        alias: u32,
        /// What the peer confirms.
        consumed_seq: u64,
        /// What it was sent.
        sent_seq: u64,
    },
    /// The end of a sequence is confirmed that goes on.
    #[error("the end of alias {0} is confirmed, which has not ended")]
    ReceiptWithoutEnd(u32),
}

/// Reads one data lane.
pub(super) struct Reader {
    link: Arc<Link>,
    receiver: Box<dyn DataReceiver>,
    heard: Box<dyn Fn() + Send>,
    table: watch::Receiver<Table>,
    closing: watch::Receiver<Closing>,
    /// By the peer's aliases.
    places: Vec<Place>,
    /// Bytes that the states in `places` hold.
    held: usize,
    stages: Vec<Stage>,
}

/// What an alias of the peer stands for.
#[derive(Default)]
enum Place {
    /// Nothing yet.
    #[default]
    Free,
    /// A sequence.
    Begun(Inlet),
    /// A sequence that has ended. The alias is free once the meter has given the receipt,
    /// which bounds what ended and still waits for an application.
    Ended {
        meter: Arc<Meter>,
        /// Bytes of a state's last value, which may be what waits.
        held: usize,
    },
}

impl Reader {
    pub(super) fn new(
        link: Arc<Link>,
        receiver: Box<dyn DataReceiver>,
        heard: Box<dyn Fn() + Send>,
        mut table: watch::Receiver<Table>,
    ) -> Self {
        let stages = table.borrow_and_update().iter().map(Stage::new).collect();
        let closing = link.closing();
        Self { link, receiver, heard, table, closing, places: Vec::new(), held: 0, stages }
    }

    /// Reads until the link is gone or fails.
    pub(super) async fn run(mut self) -> Result<(), LaneError> {
        let mut drained_at = None;
        loop {
            let closing = *self.closing.borrow_and_update();
            match closing {
                Closing::Open => {}
                // Not even Begin may have been read yet, so only the end of the lane tells.
                Closing::Draining => {
                    drained_at.get_or_insert_with(|| Instant::now() + DRAIN_TIMEOUT);
                }
                Closing::Gone => return self.read_last_credits(),
            }
            self.refresh_if_changed();
            // Made once and not for each frame: to begin to wait costs as much as to read a
            // lone sample.
            let mut change = pin!(change(self.closing.clone(), self.table.clone(), drained_at));
            while !self.closing.has_changed().unwrap_or(false) {
                // Looked at for each frame: who always has one more is not read for ever.
                if drained_at.is_some_and(|until| until <= Instant::now()) {
                    return Ok(());
                }
                tokio::select! {
                    biased;
                    frame = std::future::poll_fn(|cx| self.receiver.poll_recv(cx)) => {
                        match frame {
                            Ok(frame) => self.read(frame)?,
                            Err(_) if closing == Closing::Draining => return Ok(()),
                            Err(error) => return Err(error.into()),
                        }
                        tokio::task::coop::consume_budget().await;
                    }
                    () = &mut change => break,
                }
            }
        }
    }

    /// The link is gone. Of what came before and was not read yet, samples are of no use,
    /// but a credit tells of a subscriber that has everything.
    fn read_last_credits(&mut self) -> Result<(), LaneError> {
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..LAST_FRAMES {
            let Poll::Ready(Ok(frame)) = self.receiver.poll_recv(&mut cx) else { break };
            for record in frame.records() {
                if let Record::Credit(credit) = record? {
                    self.credit(credit)?;
                }
            }
        }
        Ok(())
    }

    fn read(&mut self, frame: DataFrame) -> Result<(), LaneError> {
        (self.heard)();
        let len = frame.head.len();
        if len > HEAD_BYTES {
            return Err(LaneError::HeadTooLong { len });
        }
        // A subscription that brought this frame about is in the table by now.
        self.refresh_if_changed();
        count(&self.link.counters.data_bytes_received, frame.wire_len() as u64);
        // A payload that a transport received is a slice of its whole frame.
        let pinned = match &frame.body {
            Body::Whole(whole) => whole.len(),
            Body::Parts(_) => 0,
        };
        self.stages.iter_mut().for_each(|stage| stage.begin_frame(pinned));
        let mut samples = 0;
        let read = self.read_records(frame, pinned, &mut samples);
        self.stages.iter_mut().for_each(Stage::flush);
        count(&self.link.counters.samples_received, samples);
        read
    }

    fn read_records(
        &mut self,
        frame: DataFrame,
        pinned: usize,
        samples: &mut u64,
    ) -> Result<(), LaneError> {
        for record in frame.records() {
            match record? {
                Record::Sample(sample) => {
                    *samples += 1;
                    self.sample(sample, pinned)?;
                }
                Record::Credit(credit) => self.credit(credit)?,
                Record::Begin(begin) => self.begin(begin)?,
                Record::Skip(skip) => self.skip(skip)?,
                Record::End(end) => self.end(end)?,
            }
        }
        Ok(())
    }

    fn credit(&self, credit: Credit) -> Result<(), RecordFault> {
        match self.link.alias_owner(credit.alias) {
            Some(owner) => owner.credit(&self.link, credit),
            None if *self.closing.borrow() != Closing::Open => Ok(()),
            None => Err(RecordFault::UnknownAlias(credit.alias)),
        }
    }

    fn sample(&mut self, sample: Sample, pinned: usize) -> Result<(), RecordFault> {
        let Self { places, stages, .. } = self;
        let alias = sample.alias;
        let inlet = begun(places, alias)?;
        let before = inlet.held();
        inlet.sample(sample, pinned, stages)?;
        let after = inlet.held();
        self.held = self.held - before + after;
        // What a node sends to itself it holds anyway.
        if after > before && self.held > STATE_BYTES && self.link.id != LOOPBACK {
            self.let_go_of_ended();
            if self.held > STATE_BYTES {
                return Err(RecordFault::StatesTooLong(alias));
            }
        }
        Ok(())
    }

    /// Nothing is held any more of what has ended and was confirmed.
    fn let_go_of_ended(&mut self) {
        for place in &mut self.places {
            if let Place::Ended { meter, held } = place
                && meter.is_receipted()
            {
                self.held -= *held;
                *place = Place::Free;
            }
        }
    }

    fn begin(&mut self, begin: Begin) -> Result<(), RecordFault> {
        let alias = begin.alias;
        let place = alias as usize;
        if place >= ALIASES_PER_LINK {
            return Err(RecordFault::AliasTooLarge(alias));
        }
        if begin.incarnation != self.link.peer_incarnation {
            return Err(RecordFault::Incarnation { alias, incarnation: begin.incarnation });
        }
        if begin.encoding.len() > limits::ENCODING_BYTES {
            return Err(RecordFault::EncodingTooLong(alias));
        }
        // Sequences begin at 1, and leave room for the number after the last.
        if begin.next_seq == 0 || begin.next_seq == u64::MAX {
            return Err(RecordFault::Backwards { alias, last_seq: 0, seq: begin.next_seq });
        }
        if self.places.len() <= place {
            self.places.resize_with(place + 1, Place::default);
        }
        match &self.places[place] {
            Place::Begun(_) => return Err(RecordFault::AliasTaken(alias)),
            Place::Ended { meter, .. } if !meter.is_receipted() => {
                return Err(RecordFault::AliasUnconfirmed(alias));
            }
            Place::Ended { held, .. } => self.held -= held,
            Place::Free => {}
        }
        self.places[place] = Place::Begun(Inlet::open(begin, &self.link, &mut self.stages));
        Ok(())
    }

    fn skip(&mut self, skip: Skip) -> Result<(), RecordFault> {
        let Self { places, stages, .. } = self;
        begun(places, skip.alias)?.skip(skip.next_seq.saturating_sub(1), stages)
    }

    fn end(&mut self, end: End) -> Result<(), RecordFault> {
        let unknown = RecordFault::UnknownAlias(end.alias);
        let place = self.places.get_mut(end.alias as usize).ok_or(unknown)?;
        let Place::Begun(inlet) = std::mem::take(place) else { return Err(unknown) };
        let closed = end.reason == EndReason::Closed;
        let held = inlet.held();
        let meter = inlet.end(end.last_seq, closed, &mut self.stages)?;
        *place = Place::Ended { meter, held };
        Ok(())
    }

    fn refresh_if_changed(&mut self) {
        // An error is that the node is gone, and with it all who subscribed.
        if self.table.has_changed().unwrap_or(false) {
            self.refresh();
        }
    }

    /// The subscriptions here have changed.
    fn refresh(&mut self) {
        let table = Arc::clone(&self.table.borrow_and_update());
        let mut stages: Vec<Stage> = table.iter().map(Stage::new).collect();
        let place_of = |old: &Stage| stages.iter().position(|new| old.is_of(new));
        let moved: Vec<Option<usize>> = self.stages.iter().map(place_of).collect();
        let is_new = |place: &usize| !moved.contains(&Some(*place));
        let fresh: Vec<usize> = (0..stages.len()).filter(is_new).collect();
        for place in &mut self.places {
            if let Place::Begun(inlet) = place {
                inlet.refresh(&moved, &fresh, &mut stages, &self.link);
            }
        }
        self.stages = stages;
        self.stages.iter_mut().for_each(Stage::flush);
    }
}

fn begun(places: &mut [Place], alias: u32) -> Result<&mut Inlet, RecordFault> {
    match places.get_mut(alias as usize) {
        Some(Place::Begun(inlet)) => Ok(inlet),
        _ => Err(RecordFault::UnknownAlias(alias)),
    }
}

/// Ready once either changes, or the time has come.
async fn change(
    mut closing: watch::Receiver<Closing>,
    mut table: watch::Receiver<Table>,
    at: Option<Instant>,
) {
    let time = async {
        match at {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        Ok(()) = closing.changed() => {}
        Ok(()) = table.changed() => {}
        () = time => {}
    }
}

/// A copy, where the payload would hold on to a frame that is much larger than itself.
pub(super) fn unpinned(payload: Bytes, pinned: usize) -> Bytes {
    if payload.len() * 4 < pinned { Bytes::copy_from_slice(&payload) } else { payload }
}
