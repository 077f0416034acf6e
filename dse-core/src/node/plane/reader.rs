//! The task that reads a link's data lane: frames to subscriptions, credits to publishers. It
//! never waits for an application.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release, SeqCst};
use std::task::{Context, Poll, Waker};

use tokio::sync::watch;
use tokio::time::Instant;

use super::account::{AccountCell, TapCell};
use super::counters::count;
use super::fault::LaneError;
use super::hub::{Hub, Table, deliver};
use super::limits::{ANSWERS, DRAIN_TIMEOUT, LAST_FRAMES};
use super::link::{Closing, Link, Token};
use super::progress::{PeerSequences, Progress};
use crate::data::DataFrame;
use crate::data::limits::HEAD_BYTES;
use crate::data::receive::{CreditAccount, Host, LinkReceiver, Output, Wanted};
use crate::protocol;
use crate::transport::DataReceiver;

/// Reads one data lane.
pub(super) struct Reader {
    link: Arc<Link>,
    receiver: Box<dyn DataReceiver>,
    heard: Box<dyn Fn(Instant) + Send>,
    table: watch::Receiver<Table>,
    closing: watch::Receiver<Closing>,
    machine: LinkReceiver<Arc<AccountCell>>,
    host: ReaderHost,
}

/// What the receiving machine of a link needs of its node.
struct ReaderHost {
    link: Arc<Link>,
    hub: Arc<Hub>,
    peer: Arc<PeerSequences>,
    /// The subscriptions that the machine knows.
    subscriptions: Table,
}

impl Host for ReaderHost {
    type Account = Arc<AccountCell>;

    fn open(&mut self, sequence: u64, epoch: u64, last_seq: u64) -> Arc<AccountCell> {
        let progress = Progress::new(&self.link, last_seq);
        self.peer.begin(sequence, Arc::clone(&progress));
        let account = CreditAccount::new(sequence, epoch, last_seq);
        let budget = Arc::clone(&self.hub.budget);
        AccountCell::new(Arc::clone(&self.link), budget, account, progress)
    }

    fn received_before(&self, sequence: u64) -> Option<u64> {
        // If not even its Begin came in before the link fell, all of it is still to come. So it is
        // if the last credit was made: what comes now is for those who want it anew.
        let lives = |id| self.hub.lives(id);
        let progress = self.peer.of(sequence).filter(|progress| !progress.is_over());
        progress.map_or(Some(0), |progress| progress.received_for(&self.link, lives))
    }
}

impl Reader {
    pub(super) fn new(
        link: Arc<Link>,
        hub: Arc<Hub>,
        peer: Arc<PeerSequences>,
        receiver: Box<dyn DataReceiver>,
        heard: Box<dyn Fn(Instant) + Send>,
    ) -> Self {
        let machine = LinkReceiver::new(link.node.clone(), link.peer_incarnation, link.order);
        let (mut table, closing) = (hub.table(), link.closing());
        table.mark_changed();
        let subscriptions = Table::default();
        let host = ReaderHost { link: Arc::clone(&link), hub, peer, subscriptions };
        Self { link, receiver, heard, table, closing, machine, host }
    }

    /// Reads until the link is gone or fails.
    pub(super) async fn run(&mut self) -> Result<(), LaneError> {
        let mut drained_at = None;
        loop {
            let closing = *self.closing.borrow_and_update();
            match closing {
                Closing::Open => {}
                // Not even Begin may have been read yet, so only the end of the lane tells.
                Closing::Left => {
                    drained_at.get_or_insert_with(|| Instant::now() + DRAIN_TIMEOUT);
                }
                Closing::Gone => return self.read_last(),
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
                            Err(_) if closing == Closing::Left => return Ok(()),
                            Err(error) => return Err(error.into()),
                        }
                        tokio::task::coop::consume_budget().await;
                    }
                    () = &mut change => break,
                }
            }
        }
    }

    /// The link is gone. What came before and was not read yet is still of use: samples that
    /// the publisher need not send again, credits of subscribers that have everything.
    fn read_last(&mut self) -> Result<(), LaneError> {
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..LAST_FRAMES {
            let Poll::Ready(Ok(frame)) = self.receiver.poll_recv(&mut cx) else { break };
            self.read(frame)?;
        }
        Ok(())
    }

    /// The link is no more: subscriptions are told.
    pub(super) fn gone(&mut self, left: bool) {
        self.refresh_if_changed();
        match self.link.replaced.load(SeqCst) {
            true => self.machine.replaced(),
            false => self.machine.gone(left),
        }
        // What follows from it concerns subscriptions only.
        let _ = self.carry_out(self.link.clock.now());
    }

    fn read(&mut self, frame: DataFrame) -> Result<(), LaneError> {
        let time = Instant::now();
        (self.heard)(time);
        let now = self.link.clock.of(time);
        let len = frame.head.len();
        if len > HEAD_BYTES {
            return Err(LaneError::HeadTooLong { len });
        }
        // A subscription that brought this frame about is in the table by now.
        self.refresh_if_changed();
        let bytes = frame.wire_len() as u64;
        let reading = Reading::begin(&self.link);
        let read = self.machine.frame(frame, &mut self.host);
        // Whoever gets something of it finds it counted.
        let counters = &self.link.counters;
        count(&counters.data_bytes_received, bytes);
        let counted = self.machine.take_counters();
        count(&counters.samples_received, counted.samples);
        count(&counters.unwanted_samples, counted.unwanted);
        count(&counters.unknown_records, counted.unknown_records);
        count(&counters.unknown_fields, counted.unknown_fields);
        let done = carry_out_all(&mut self.machine, &self.host, &self.link, now);
        drop(reading);
        if read? {
            self.link.took(now, bytes);
        }
        done
    }

    fn carry_out(&mut self, now: protocol::Instant) -> Result<(), LaneError> {
        carry_out_all(&mut self.machine, &self.host, &self.link, now)
    }

    fn refresh_if_changed(&mut self) {
        // An error is that the node is gone, and with it all who subscribed.
        if self.table.has_changed().unwrap_or(false) {
            let table = Arc::clone(&self.table.borrow_and_update());
            let wanted: Vec<Wanted> = table.iter().map(|it| it.wanted.clone()).collect();
            self.machine.set_subscriptions(&wanted);
            self.host.subscriptions = table;
            let _ = self.carry_out(self.link.clock.now());
        }
    }
}

/// The reader is at a frame. Ends with a panic, too: the reader of the next link waits for it.
struct Reading<'a>(&'a Link);

impl<'a> Reading<'a> {
    fn begin(link: &'a Link) -> Self {
        // Who sees what the frame advances sees this, too.
        link.reading.store(true, Relaxed);
        Self(link)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.reading.store(false, Release);
    }
}

fn carry_out_all(
    machine: &mut LinkReceiver<Arc<AccountCell>>,
    host: &ReaderHost,
    link: &Arc<Link>,
    now: protocol::Instant,
) -> Result<(), LaneError> {
    let mut done = Ok(());
    for output in machine.outputs() {
        let carried = carry_out(output, host, link, now);
        done = done.and(carried);
    }
    done
}

fn carry_out(
    output: Output<Arc<TapCell>>,
    host: &ReaderHost,
    link: &Arc<Link>,
    now: protocol::Instant,
) -> Result<(), LaneError> {
    match output {
        Output::Deliver(id, item) => deliver(&host.subscriptions, id, item),
        Output::Credit(credit) => {
            // One whose route is no more has nothing to say.
            if let Some(outgoing) = link.outgoing(credit.sequence) {
                outgoing.credit(now, link, credit)?;
            }
        }
        Output::Received(received) => link.heard_received(now, received)?,
        Output::Resume(resume) => {
            if let Some(outgoing) = link.outgoing(resume.sequence) {
                outgoing.resume(link.id, resume)?;
            }
        }
        Output::Refuse(refuse) => {
            if let Some(outgoing) = link.outgoing(refuse.sequence) {
                outgoing.refuse(link.id, refuse);
            }
        }
        Output::SendResume(resume) => answer(host, Token::Resume(resume))?,
        Output::SendRefuse(refuse) => answer(host, Token::Refuse(refuse))?,
    }
    Ok(())
}

/// Sends an answer, of which a bounded number waits.
fn answer(host: &ReaderHost, token: Token) -> Result<(), LaneError> {
    if host.link.answers.fetch_add(1, SeqCst) >= ANSWERS {
        return Err(LaneError::Answers);
    }
    host.link.send(token);
    Ok(())
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
