//! Publishing.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use super::call::{Call, Caller};
use super::plane::sequencer::{Offered, Sequencer};
use super::plane::{Errand, Hub, PlaneRequest};
use super::{NodeError, Stopped};
use crate::protocol::{Key, NodeId};

/// What a stream does for a subscriber that is slower than its publisher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The publisher waits. A subscriber that takes nothing, or keeps others idle, for
    /// more than the stall timeout within 10 s is waited for no more: its samples are
    /// dropped and reported to it as a gap until it has caught up.
    #[default]
    Block,
    /// The oldest samples that wait for it are dropped and reported to it as a gap. Beside
    /// what is under way to it, 1024 samples of together 1 MiB wait, or one.
    DropOldest,
    /// The newest samples are dropped and reported to it as a gap; as many wait.
    DropNewest,
}

/// Publishes the samples of one key of this node.
///
/// Several tasks may publish at a time. Dropping it ends the declaration; what was
/// published is still delivered while the node lives. [`Publisher::close`] waits for
/// that, too.
pub struct Publisher {
    sequencer: Arc<Sequencer>,
    hub: Arc<Hub>,
    /// The way to the driver; none where it is told of the declaration by somebody else.
    caller: Option<Caller>,
    /// The driver knows of no declaration, or was told of its end.
    undeclared: bool,
}

impl Publisher {
    pub(super) fn new(sequencer: Arc<Sequencer>, hub: Arc<Hub>) -> Self {
        Self { sequencer, hub, caller: None, undeclared: false }
    }

    pub(super) fn called_by(mut self, caller: Caller) -> Self {
        self.caller = Some(caller);
        self
    }

    /// The key.
    pub fn key(&self) -> &Key {
        &self.sequencer.key
    }

    /// Publishes a sample. A stream with [`Overflow::Block`] waits until every subscriber
    /// can take it; all others never wait. Dropping the future publishes nothing.
    ///
    /// # Errors
    /// The payload is too long, or the node has stopped.
    pub async fn publish(&self, mut payload: Bytes) -> Result<(), PublishError> {
        tokio::task::coop::consume_budget().await;
        if self.offer(&mut payload)?.is_none() {
            return Ok(());
        }
        let _waiting = self.sequencer.wait();
        loop {
            let mut changed = pin!(self.sequencer.changed.notified());
            changed.as_mut().enable();
            let Some(until) = self.offer(&mut payload)? else { return Ok(()) };
            // Late or not, it is tried again.
            let _ = tokio::time::timeout_at(until, changed).await;
        }
    }

    /// Publishes a sample if that can be done without waiting. For a subscriber that is
    /// behind, the time from a refusal until it takes something counts as waited, so that
    /// one that is stuck does not refuse for ever.
    ///
    /// # Errors
    /// [`PublishError::WouldBlock`], or as [`Publisher::publish`].
    pub fn try_publish(&self, mut payload: Bytes) -> Result<(), PublishError> {
        match self.offer(&mut payload)? {
            None => Ok(()),
            Some(_) => Err(PublishError::WouldBlock(self.key().clone())),
        }
    }

    /// None if the sample was taken; else when to try again at the latest.
    fn offer(&self, payload: &mut Bytes) -> Result<Option<Instant>, PublishError> {
        match self.sequencer.offer(payload)? {
            Offered::Taken(errand) => {
                errand.into_iter().for_each(Errand::run);
                Ok(None)
            }
            Offered::Blocked(until) => Ok(Some(until)),
        }
    }

    /// Describes what is published anew: this metadata takes the place of all there was.
    /// Whoever watches the key is told that it changed; samples, kind and encoding stay as
    /// they are. Giving up on the wait does not undo it.
    ///
    /// # Errors
    /// The declaration passes a bound with it, and stays as it was; or the node has stopped.
    pub async fn set_meta<N: Into<Box<str>>, V: Into<Box<str>>>(
        &self,
        meta: impl IntoIterator<Item = (N, V)>,
    ) -> Result<(), NodeError> {
        let meta = meta.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let declaration = self.sequencer.described(meta);
        let caller = self.caller.as_ref().ok_or(Stopped::Dropped)?;
        caller.ask(|reply| Call::Redeclare { declaration, reply }).await??;
        Ok(())
    }

    /// Forgets what it keeps for late joiners, a state's value or a stream's history: whom
    /// nothing is sent yet gets what is published from now on. For a source that rests, so
    /// that nobody takes its last reading for the present one. Who is being sent the samples
    /// gets all of them.
    pub fn forget(&self) {
        self.sequencer.forget();
    }

    /// Tells whether anybody wants the samples, so that a source works only then.
    pub fn interest(&self) -> InterestWatch {
        InterestWatch { interest: self.sequencer.interest.subscribe() }
    }

    /// Waits until every subscriber there is now has taken all that was published before, or
    /// was told that it is lost. One that takes nothing for the stall timeout, or whose node
    /// goes, is waited for no more and named; one that unsubscribes is not. Those that took
    /// all of it and are gone count, too. Cancel-safe: it changes nothing.
    pub async fn flush(&self) -> Receipts {
        self.sequencer.flush().await
    }

    /// Ends the declaration once every subscriber has taken all that was published, or is
    /// known not to get it: it has stalled, its node is gone, it has unsubscribed. Those that
    /// took all of it and are gone count, too. Dropping the future ends the declaration all
    /// the same.
    pub async fn close(mut self) -> Receipts {
        self.sequencer.shut();
        let closed = self.sequencer.receipts().await;
        self.undeclare();
        closed
    }

    /// Ends it where the declaration was never made known.
    #[doc(hidden)]
    pub fn abandon(mut self) {
        self.undeclared = true;
        self.sequencer.shut();
        self.hub.retire(&self.sequencer);
    }

    fn undeclare(&mut self) {
        if !std::mem::replace(&mut self.undeclared, true) {
            // Once the key is free here, whoever declares it again comes after this.
            self.hub.request(PlaneRequest::Undeclare(self.key().clone()));
            self.hub.retire(&self.sequencer);
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.sequencer.shut();
        self.undeclare();
    }
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("key", self.key()).finish_non_exhaustive()
    }
}

/// Who has what was published, when a publisher was closed or flushed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipts {
    /// How many nodes have taken all that was published for them, also if they are gone.
    pub delivered: usize,
    /// The nodes that wanted it and have not, or of which it is not known.
    pub undelivered: Vec<NodeId>,
}

/// Why a sample was not published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The payload is longer than a sample may be.
    #[error("the payload has {len} bytes, more than the {max} that a sample may have")]
    TooLong {
        /// Its length, in bytes.
        len: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// A subscriber is behind.
    #[error("a subscriber of {0} is behind; publish() waits for it")]
    WouldBlock(Key),
    /// The node has left or stopped.
    #[error("{0} is published no more: its node has left the bus")]
    Closed(Key),
}

/// Who wants a publisher's samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Interest {
    pub(super) wanted: bool,
    pub(super) subscribers: usize,
    pub(super) closed: bool,
}

/// Tells whether anybody wants a publisher's samples.
#[derive(Clone, Debug)]
pub struct InterestWatch {
    interest: watch::Receiver<Interest>,
}

impl InterestWatch {
    /// Does anybody want them, or did within the last seconds?
    pub fn wanted(&self) -> bool {
        self.interest.borrow().wanted
    }

    /// How many nodes are being sent the samples now, this one included.
    pub fn subscribers(&self) -> usize {
        self.interest.borrow().subscribers
    }

    /// Waits until either changes, and tells whether anybody wants them now. None once
    /// the publisher is closed. Cancel-safe.
    pub async fn changed(&mut self) -> Option<bool> {
        // The publisher may have been closed before, and what it was is still known to
        // subscribers that have not come to its End.
        while !self.interest.borrow().closed {
            self.interest.changed().await.ok()?;
            let Interest { wanted, closed, .. } = *self.interest.borrow();
            if !closed {
                return Some(wanted);
            }
        }
        None
    }
}
