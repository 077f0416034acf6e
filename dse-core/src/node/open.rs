//! How publishers and subscribers are set up.

use super::call::Call;
use super::plane::limits::QUEUE_SAMPLES;
use super::{Node, NodeError, Overflow, Publisher, Subscriber};
use crate::protocol::{CommandError, Declaration, Key, KeyExpr, Kind};

/// Sets a publisher up. See [`Node::publisher`].
#[derive(Clone, Debug)]
pub struct PublisherBuilder {
    node: Node,
    declaration: Declaration,
    overflow: Overflow,
    history: usize,
}

impl PublisherBuilder {
    pub(super) fn new(node: Node, key: Key) -> Self {
        let declaration = Declaration::new(key, Kind::Stream, "application/octet-stream");
        Self { node, declaration, overflow: Overflow::default(), history: 0 }
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
        self.overflow = overflow;
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
        self.history = samples;
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
        // No handle without a call: see PlaneRequest.
        let place = shared.caller.place().await?;
        let registered = shared.plane.register(declaration.clone(), self.overflow, self.history);
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
    capacity: usize,
}

impl SubscriberBuilder {
    pub(super) fn new(node: Node, keys: KeyExpr) -> Self {
        Self { node, keys, capacity: QUEUE_SAMPLES }
    }

    /// How many samples wait for the application before publishers are held up, or drop.
    /// Default: 65,536, and at most 64 MiB. Publishers share it, and each may have 16 under
    /// way whatever it says.
    #[must_use]
    pub fn capacity(mut self, samples: usize) -> Self {
        self.capacity = samples;
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
        let subscriber = shared.plane.subscribe(subscription, keys.clone(), self.capacity);
        place.ask(|reply| Call::Subscribe { subscription, keys, reply }).await??;
        Ok(subscriber)
    }
}
