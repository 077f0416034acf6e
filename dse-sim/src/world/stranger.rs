//! Nodes without a control bus, for which the test speaks.

use dse_core::protocol::wire::{self, Decoded};
use dse_core::protocol::{
    BusId, Claim, DialId, Features, Hello, Incarnation, LinkId, Message, Open, Role,
};

use super::network::{Lane, State};
use super::{Engine, World, endpoint, id, number, place_of};

impl World {
    /// A stranger dials a node. Returns the stranger's number of the link.
    pub fn dial(&mut self, stranger: &str, to: &str) -> LinkId {
        let from = self.index(stranger);
        let before = self.links.len();
        let life = self.nodes[from].life;
        let dial = DialId(before as u64);
        self.arrive(from, life, dial, &endpoint(to));
        assert!(self.links.len() > before, "{to} does not listen");
        self.establish(before);
        number(before, 0)
    }

    /// The links to a stranger that others dialled and on which it has not spoken yet.
    pub fn fresh_links(&mut self, stranger: &str) -> Vec<LinkId> {
        let index = self.index(stranger);
        let fresh = self
            .links
            .iter()
            .enumerate()
            .filter(|(_, link)| link.ends[1].node == index && link.ends[1].state == State::Up);
        let all = fresh.map(|(link, _)| number(link, 1));
        all.filter(|link| !self.spoken.contains(link)).collect()
    }

    /// A stranger sends a message.
    pub fn say(&mut self, link: LinkId, message: Message) {
        self.spoken.insert(link);
        self.send(link, Lane::Message(wire::encode(&message)));
    }

    /// A stranger sends what may be no message at all.
    pub fn say_bytes(&mut self, link: LinkId, bytes: &[u8]) {
        self.send(link, Lane::Message(bytes.to_vec().into()));
    }

    /// What a stranger heard on a link, in order.
    pub fn heard(&self, stranger: &str, link: LinkId) -> Vec<Message> {
        let Engine::Stranger(inbox) = &self.node(stranger).engine else {
            panic!("{stranger} is no stranger");
        };
        let on_link = inbox.iter().filter(|(on, _)| *on == link);
        on_link
            .filter_map(|(_, decoded)| match decoded {
                Decoded::Known(message) => Some(message.clone()),
                Decoded::Unknown { .. } => None,
            })
            .collect()
    }

    /// The Hello that a stranger heard on a link.
    #[track_caller]
    pub fn hello_from(&mut self, stranger: &str, link: LinkId) -> Hello {
        let hello = |world: &Self| {
            world.heard(stranger, link).into_iter().find_map(|message| match message {
                Message::Hello(hello) => Some(hello),
                _ => None,
            })
        };
        self.run_until("a Hello", |world| hello(world).is_some());
        hello(self).expect("it was waited for")
    }

    /// Does the stranger's end of this link still stand?
    pub fn stands(&self, link: LinkId) -> bool {
        let (link, side) = place_of(link);
        self.links[link].ends[side].state == State::Up
    }

    /// A stranger dials a node and opens the link as a member of a larger or smaller id
    /// would. Returns the link once the node took it.
    #[track_caller]
    pub fn open_as_stranger(&mut self, stranger: &str, to: &str) -> LinkId {
        let link = self.dial(stranger, to);
        let hello = stranger_hello(stranger, 1);
        self.say(link, Message::Hello(hello));
        let theirs = self.hello_from(stranger, link);
        let echo = theirs.link_nonce;
        let open = Open { echo, held: None, known: None, census: Vec::new() };
        self.say(link, Message::Open(open));
        let there = self.other_end(link).1;
        self.run_until("an open link", |world| world.open_links(to).contains(&there));
        link
    }
}

/// The Hello of a stranger on its n-th link.
pub fn stranger_hello(name: &str, link: u64) -> Hello {
    Hello {
        min_version: wire::VERSION,
        max_version: wire::VERSION,
        features: Features::SUPPORTED,
        bus: BusId::new("plant").expect("a bus id"),
        node: id(name),
        claim: Claim { returned: false, incarnation: Incarnation(1), nonce: 7 },
        role: Role::Member,
        lasting: true,
        link_nonce: 1000 + link,
        endpoints: vec![endpoint(name)],
    }
}
