//! Interest and routes (PROTOCOL.md §8): told to peers, taken from them.

use alloc::string::String;
use alloc::vec::Vec;

use super::ControlBus;
use crate::protocol::interest::Taken;
use crate::protocol::peers::Peer;
use crate::protocol::{
    CommandError, Event, Interest, InterestRefused, Key, LinkId, Message, NodeId, Pattern,
    SubscriptionId, Timer, limits,
};

impl ControlBus {
    pub(super) fn subscribe(
        &mut self,
        subscription: SubscriptionId,
        pattern: Pattern,
    ) -> Result<(), CommandError> {
        self.interest.subscribe(subscription, pattern)?;
        self.subscriptions_changed();
        Ok(())
    }

    pub(super) fn unsubscribe(&mut self, subscription: SubscriptionId) {
        if self.interest.unsubscribe(subscription) {
            self.subscriptions_changed();
        }
    }

    fn subscriptions_changed(&mut self) {
        let nodes: Vec<NodeId> =
            self.peers.open_members().map(|(peer, _)| peer.info.node.clone()).collect();
        for node in nodes {
            self.send_interest(&node);
        }
        let own: Vec<Key> = self.index.iter().map(|declaration| declaration.key.clone()).collect();
        self.wanted_changed(&own);
    }

    /// Tells a peer what this node wants of it, if that is news on its open link.
    pub(super) fn send_interest(&mut self, node: &NodeId) {
        let Some(peer) = self.peers.get(node) else { return };
        let Some(open) = peer.open.filter(|_| peer.is_member()) else { return };
        let Some(index) = self.directory.get(node) else { return };
        for interest in self.interest.news_for(node, index) {
            self.outbox.send(open.link, &Message::Interest(interest));
        }
    }

    pub(super) fn interest_received(
        &mut self,
        link: LinkId,
        node: &NodeId,
        interest: Interest,
    ) -> Result<(), &'static str> {
        if !self.peers.get(node).is_some_and(Peer::is_member) {
            return Err("a guest has no interest");
        }
        match self.interest.take(node, interest, self.now)? {
            Taken::Part => {}
            Taken::Refused(refused) => {
                self.outbox.send(link, &Message::InterestRefused(refused));
            }
            Taken::Now => self.routes_changed(node),
            Taken::Later(until) => self.timers.set(Timer::Interest(node.clone()), until),
        }
        Ok(())
    }

    /// A peer answered a request: what it wanted before counts from now on at the latest
    /// (PROTOCOL.md §8.2).
    pub(super) fn interest_is_due(&mut self, node: &NodeId) {
        let timer = Timer::Interest(node.clone());
        if self.timers.is_set(&timer) {
            self.timers.clear(&timer);
            self.routes_changed(node);
        }
    }

    pub(super) fn interest_refused(&mut self, node: &NodeId, refused: InterestRefused) {
        let why = String::from(refused.why);
        self.outbox.event(Event::InterestRefused { node: node.clone(), why });
    }

    /// Brings the routes to a peer in line with what it wants.
    pub(super) fn routes_changed(&mut self, node: &NodeId) {
        let Some(link) = self.peers.link_of(node) else { return };
        let others = self.peers.member_count();
        let (events, changed) = self.interest.reroute(node, link, &self.index, others, self.now);
        events.into_iter().for_each(|event| self.outbox.event(event));
        self.wanted_changed(&changed);
    }

    /// A key of our own is new: route it to those who wanted it before it was there.
    pub(super) fn route_new_key(&mut self, key: &Key) {
        for peer in self.peers.iter() {
            let Some(open) = peer.open else { continue };
            if let Some(options) = self.interest.route(&peer.info.node, key) {
                let (key, link) = (key.clone(), open.link);
                self.outbox.event(Event::RouteAdded { key, link, options });
            }
        }
        self.wanted_changed([key]);
    }

    /// A key of our own is no more.
    pub(super) fn unroute_key(&mut self, key: &Key) {
        self.interest.unroute(key);
        self.timers.clear(&Timer::Linger(key.clone()));
    }

    /// Looks at own keys for a first or a last interest: those of which somebody began or
    /// ceased to want.
    pub(super) fn wanted_changed<'a>(&mut self, keys: impl IntoIterator<Item = &'a Key>) {
        for key in keys {
            let linger = Timer::Linger(key.clone());
            if self.interest.is_wanted(key) {
                self.timers.clear(&linger);
                if self.interest.tell_wanted(key) {
                    self.outbox.event(Event::FirstInterest { key: key.clone() });
                }
            } else if self.interest.is_told_wanted(key) && !self.timers.is_set(&linger) {
                self.timers.set(linger, self.now + limits::INTEREST_LINGER);
            }
        }
    }

    /// Nobody has wanted a key for the linger time.
    pub(super) fn linger_over(&mut self, key: Key) {
        if self.interest.tell_unwanted(&key) {
            self.outbox.event(Event::LastInterest { key });
        }
    }
}
