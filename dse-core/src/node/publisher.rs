//! Publishing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::watch;

use super::call::{Call, Caller};
use super::error::NodeError;
use super::plane::{Hub, Interest, PlaneRequest, Publication, PublishError, Waiter};
use super::stopped::Stopped;
use crate::data::Headers;
use crate::data::send::Report;
use crate::protocol::Key;

/// Publishes the samples of one key of this node.
///
/// Several tasks may publish at a time. Dropping it ends the declaration; what was
/// published is still delivered while the node lives. [`Publisher::close`] waits for
/// that, too.
pub struct Publisher {
    publication: Arc<Publication>,
    hub: Arc<Hub>,
    /// The way to the driver; none where it is told of the declaration by somebody else.
    caller: Option<Caller>,
    /// The driver knows of no declaration, or was told of its end.
    undeclared: bool,
}

impl Publisher {
    pub(super) fn new(publication: Arc<Publication>, hub: Arc<Hub>) -> Self {
        Self { publication, hub, caller: None, undeclared: false }
    }

    pub(super) fn called_by(mut self, caller: Caller) -> Self {
        self.caller = Some(caller);
        self
    }

    /// The key.
    pub fn key(&self) -> &Key {
        &self.publication.origin.key
    }

    /// Publishes a sample. A stream with [`Overflow::Block`](crate::node::Overflow::Block) waits until every subscriber
    /// can take it; all others never wait. Dropping the future publishes nothing.
    ///
    /// # Errors
    /// The payload is too long, or the node has stopped.
    pub fn publish(&self, payload: Bytes) -> Publish<'_> {
        self.publish_with(Headers::new(), payload)
    }

    /// As [`publish`](Self::publish), with headers.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn publish_with(&self, headers: Headers, payload: Bytes) -> Publish<'_> {
        Publish { publisher: self, sample: Some((headers, payload)), waiting: None }
    }

    /// Publishes samples in order, with one lock and one wake-up for as many as there is room
    /// for. Dropping the future publishes some of them.
    ///
    /// # Errors
    /// As [`publish`](Self::publish), and how many were published before.
    pub async fn publish_batch(
        &self,
        payloads: impl IntoIterator<Item = Bytes>,
    ) -> Result<(), (usize, PublishError)> {
        tokio::task::coop::consume_budget().await;
        let mut samples = payloads.into_iter().map(|payload| (Headers::new(), payload));
        let (published, outcome) = self.publication.publish(&mut samples).await;
        outcome.map_err(|error| (published, error))
    }

    /// Publishes a sample if that can be done without waiting.
    ///
    /// # Errors
    /// [`PublishError::WouldBlock`], or as [`Publisher::publish`].
    pub fn try_publish(&self, payload: Bytes) -> Result<(), PublishError> {
        match self.publication.try_publish(Headers::new(), payload)? {
            None => Ok(()),
            Some(_) => Err(PublishError::WouldBlock(self.key().clone())),
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
        let declaration = self.publication.described(meta);
        let caller = self.caller.as_ref().ok_or(Stopped::Dropped)?;
        caller.ask(|reply| Call::Redeclare { declaration, reply }).await??;
        Ok(())
    }

    /// Forgets what it keeps for late joiners, a state's value or a stream's history: to whom
    /// nothing is sent yet gets what is published from now on. For a source that is idle, so
    /// that nobody takes its last reading for the present one. A subscriber that is being sent
    /// the samples gets all of them.
    pub fn forget(&self) {
        self.publication.forget();
    }

    /// Tells whether anybody wants the samples, so that a source works only then.
    pub fn interest(&self) -> InterestWatch {
        InterestWatch { interest: self.publication.interest.subscribe() }
    }

    /// The nodes that the publisher waits for at the moment, and for how long it has.
    pub fn waits_for(&self) -> Vec<Waiter> {
        self.publication.waits_for()
    }

    /// Waits until every subscriber has confirmed all that was published before, or is known
    /// not to: it made no progress for the stall timeout, its link fell and did not come back in
    /// time, its node left. A report says of nodes that are gone only what no report before has
    /// said. Cancel-safe.
    pub async fn flush(&self) -> Report {
        self.publication.confirmed().await
    }

    /// Takes no more samples, waits as [`flush`](Self::flush) does, and ends the declaration.
    /// Dropping the future ends the declaration all the same.
    pub async fn close(mut self) -> Report {
        let report = self.finish().await;
        self.undeclare();
        report
    }

    /// Takes no more samples and waits as [`flush`](Self::flush) does, while the declaration
    /// stands. For a caller that waits no longer than it wants to: it gives up on this, asks for
    /// the [`report`](Self::report), and drops the publisher. Cancel-safe.
    pub async fn finish(&self) -> Report {
        self.publication.close();
        self.publication.confirmed().await
    }

    /// Who has what was published up to now, and who has not, without waiting. It says of nodes
    /// that are gone only what no report before has said.
    pub fn report(&self) -> Report {
        self.publication.report()
    }

    /// Ends it where the declaration was never made known.
    #[doc(hidden)]
    pub fn abandon(mut self) {
        self.undeclared = true;
        self.publication.close();
        self.hub.retire(&self.publication);
    }

    fn undeclare(&mut self) {
        if !std::mem::replace(&mut self.undeclared, true) {
            // Once the key is free here, whoever declares it again comes after this.
            self.hub.request(PlaneRequest::Undeclare(self.key().clone()));
            self.hub.retire(&self.publication);
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.publication.close();
        self.undeclare();
    }
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("key", self.key()).finish_non_exhaustive()
    }
}

/// A publish that waits for subscribers.
type Wait<'a> = Pin<Box<dyn Future<Output = Result<(), PublishError>> + Send + 'a>>;

/// A sample that is being published, by [`Publisher::publish`]. Small, for most samples wait for
/// nobody.
#[must_use = "futures do nothing unless they are awaited"]
pub struct Publish<'a> {
    publisher: &'a Publisher,
    /// None once it was published or waits.
    sample: Option<(Headers, Bytes)>,
    waiting: Option<Wait<'a>>,
}

impl Future for Publish<'_> {
    type Output = Result<(), PublishError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some((headers, payload)) = self.sample.take() {
            // Who publishes without end lets other tasks run.
            match tokio::task::coop::poll_proceed(cx) {
                Poll::Ready(progress) => progress.made_progress(),
                Poll::Pending => {
                    self.sample = Some((headers, payload));
                    return Poll::Pending;
                }
            }
            let publication = &self.publisher.publication;
            let Some(sample) = publication.try_publish(headers, payload)? else {
                return Poll::Ready(Ok(()));
            };
            self.waiting =
                Some(Box::pin(
                    async move { publication.publish(&mut std::iter::once(sample)).await.1 },
                ));
        }
        match &mut self.waiting {
            Some(waiting) => waiting.as_mut().poll(cx),
            None => panic!("a future is not polled once it is over"),
        }
    }
}

impl std::fmt::Debug for Publish<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publish").field("key", self.publisher.key()).finish_non_exhaustive()
    }
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
