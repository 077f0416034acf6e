//! How publishers and subscribers are set up.

use std::time::Duration;

use super::Node;
use super::call::Call;
use super::error::NodeError;
use super::limits::STALL_TIMEOUT;
use super::options::{Overflow, PublisherOptions};
use super::plane::limits::QUEUE_SAMPLES;
use super::publisher::Publisher;
use super::subscriber::Subscriber;
use crate::protocol::{Class, CommandError, Declaration, InterestOptions, Key, KeyExpr, Kind};

/// Sets a publisher up. See [`Node::publisher`].
#[derive(Clone, Debug)]
pub struct PublisherBuilder {
    node: Node,
    declaration: Declaration,
    options: PublisherOptions,
}

impl PublisherBuilder {
    pub(super) fn new(node: Node, key: Key) -> Self {
        let declaration = Declaration::new(key, Kind::Stream, "application/octet-stream");
        Self { node, declaration, options: PublisherOptions::default() }
    }

    /// Stream or state. Default: stream.
    #[must_use]
    pub fn kind(mut self, kind: Kind) -> Self {
        self.declaration.kind = kind;
        self
    }

    /// The media type of the payloads. Default: `application/octet-stream`.
    #[must_use]
    pub fn encoding(mut self, encoding: impl Into<Box<str>>) -> Self {
        self.declaration.encoding = encoding.into();
        self
    }

    /// Describes what is published, for others to read; repeat for more.
    /// [`Publisher::set_meta`] changes it later.
    #[must_use]
    pub fn meta(mut self, name: impl Into<Box<str>>, value: impl Into<Box<str>>) -> Self {
        self.declaration.meta.push((name.into(), value.into()));
        self
    }

    /// What a stream does for a subscriber that is slower. Default: [`Overflow::Block`].
    #[must_use]
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.options.overflow = overflow;
        self
    }

    /// How many of its last samples a stream keeps for late joiners, at most 1024, and at
    /// most 64 MiB beside the last one. A state keeps its value in any case. Default: 0.
    ///
    /// A late joiner is a *node* that had no subscription for the key: its first one gets
    /// the history. Whoever subscribes on a node that receives the stream already, this one
    /// included, gets what comes from then on; of a state every subscription gets the
    /// present value. A link that came back repeats the history, which repairs a gap of up
    /// to that length.
    #[must_use]
    pub fn history(mut self, samples: usize) -> Self {
        self.options.history = samples;
        self
    }

    /// How urgent the samples are: on a link no class waits behind a lower one. Default:
    /// [`Class::Normal`].
    #[must_use]
    pub fn class(mut self, class: Class) -> Self {
        self.options.class = class;
        self
    }

    /// After this time a sample of a stream is not sent any more; its subscribers are told the
    /// gap. A state has one value that is always sent: it has no lifetime. Default: none.
    #[must_use]
    pub fn expires(mut self, after: Duration) -> Self {
        self.options.expires = Some(after);
        self
    }

    /// How long a subscriber that makes no progress is waited for, and what it has not confirmed
    /// is kept once its link fell: from 100 ms to 10 minutes. Default: that of the node.
    #[must_use]
    pub fn stall_timeout(mut self, timeout: Duration) -> Self {
        self.options.stall_timeout = Some(timeout);
        self
    }

    /// A subscriber that takes fewer bytes a second, while it is waited for, counts as stalled
    /// after the stall timeout. Default: 0, no floor.
    #[must_use]
    pub fn min_rate(mut self, bytes_per_second: u64) -> Self {
        self.options.min_rate = bytes_per_second;
        self
    }

    /// Declares the key on the bus.
    ///
    /// # Errors
    /// This node declares it already, the declaration passes a bound, the node is a guest
    /// or has stopped.
    pub async fn declare(self) -> Result<Publisher, NodeError> {
        let shared = &self.node.shared;
        let declaration = self.declaration;
        if !matches!(declaration.kind, Kind::Stream | Kind::State) {
            let why = "this version publishes streams and states";
            let key = declaration.key;
            return Err(CommandError::InvalidDeclaration { key, why }.into());
        }
        if declaration.kind == Kind::State && self.options.expires.is_some() {
            let why = "a state has no lifetime: its latest value is always sent";
            let key = declaration.key;
            return Err(CommandError::InvalidDeclaration { key, why }.into());
        }
        if let Some(timeout) = self.options.stall_timeout
            && !STALL_TIMEOUT.contains(&timeout)
        {
            let why = "its stall timeout is not between 100 ms and 10 minutes";
            let key = declaration.key;
            return Err(CommandError::InvalidDeclaration { key, why }.into());
        }
        // No handle without a call: see PlaneRequest.
        let place = shared.caller.place().await?;
        let registered = shared.plane.register(declaration.clone(), self.options);
        let publisher =
            registered.ok_or_else(|| CommandError::AlreadyDeclared(declaration.key.clone()))?;
        match place.ask(|reply| Call::Declare { declaration, reply }).await {
            Ok(Ok(())) => Ok(publisher.called_by(shared.caller.clone())),
            Ok(Err(refused)) => {
                publisher.abandon();
                Err(refused.into())
            }
            Err(stopped) => {
                publisher.abandon();
                Err(stopped.into())
            }
        }
    }
}

/// Sets a subscriber up. See [`Node::subscribe`].
#[derive(Clone, Debug)]
pub struct SubscriberBuilder {
    node: Node,
    keys: KeyExpr,
    options: InterestOptions,
    capacity: usize,
}

impl SubscriberBuilder {
    pub(super) fn new(node: Node, keys: KeyExpr) -> Self {
        Self { node, keys, options: InterestOptions::default(), capacity: QUEUE_SAMPLES }
    }

    /// How many samples wait for the application before publishers are held up, or drop.
    /// Default: 65,536. Publishers share it, and each may have 16 in flight
    /// whatever it says.
    #[must_use]
    pub fn capacity(mut self, samples: usize) -> Self {
        self.capacity = samples;
        self
    }

    /// Publishers never wait for this subscription: what it is too slow for is dropped, and it
    /// is told the gap.
    #[must_use]
    pub fn never_wait(mut self) -> Self {
        self.options.never_wait = true;
        self
    }

    /// The least time between two samples of one key of one node, in whole milliseconds. Of a
    /// stream the samples between are left out, which is reported as no gap; of a state the
    /// latest comes once the time is over.
    #[must_use]
    pub fn min_interval(mut self, interval: Duration) -> Self {
        self.options.min_interval = interval;
        self
    }

    /// The class of the routes to this subscription, instead of the publisher's.
    #[must_use]
    pub fn class(mut self, class: Class) -> Self {
        self.options.class = Some(class);
        self
    }

    /// Makes the interest known on the bus.
    ///
    /// # Errors
    /// The node has too many subscriptions, is a guest or has stopped.
    pub async fn open(self) -> Result<Subscriber, NodeError> {
        let shared = &self.node.shared;
        let place = shared.caller.place().await?;
        let subscription = shared.next_subscription();
        let keys = self.keys;
        let options = self.options;
        let subscriber = shared.plane.subscribe(subscription, keys.clone(), options, self.capacity);
        place.ask(|reply| Call::Subscribe { subscription, keys, options, reply }).await??;
        Ok(subscriber)
    }
}
