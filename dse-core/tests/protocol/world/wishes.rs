//! What tests ask of a world, in few words.

use std::time::Duration;

use dse_core::protocol::wire::{self, Decoded};
use dse_core::protocol::{
    BusId, Claim, Command, CommandError, Config, Declaration, Endpoint, Hello, Incarnation, Key,
    KeyExpr, Kind, LinkId, Message, NodeId, Open, Role, SubscriptionId, Ticket,
};

use super::network::Lane;
use super::{Engine, Node, World, number};

pub(crate) fn id(name: &str) -> NodeId {
    NodeId::new(name).expect("a node id")
}

pub(crate) fn key(text: &str) -> Key {
    Key::new(text).expect("a key")
}

pub(crate) fn expr(text: &str) -> KeyExpr {
    KeyExpr::new(text).expect("a key expression")
}

/// Where the node of this name listens.
pub(crate) fn endpoint(name: &str) -> Endpoint {
    Endpoint::new(format!("mem://{name}")).expect("an endpoint")
}

/// A state of this key.
pub(crate) fn declaration(text: &str) -> Declaration {
    Declaration::new(key(text), Kind::State, "text/plain")
}

/// The configuration of a member of this name.
pub(crate) fn member(name: &str, incarnation: u64) -> Config {
    let bus = BusId::new("plant").expect("a bus id");
    let mut config = Config::new(bus, id(name), Incarnation(incarnation));
    config.endpoints = vec![endpoint(name)];
    config.schemes = vec!["mem".into()];
    config
}

impl World {
    /// Starts members of these names, each of which joins through the first.
    pub(crate) fn start_mesh(&mut self, names: &[&str]) {
        for name in names {
            self.start(name);
            if *name != names[0] {
                self.join(name, names[0]);
            }
        }
        self.run_until_quiet();
    }

    /// As [`start_mesh`](Self::start_mesh), with a declaration `{name}/a` at each.
    pub(crate) fn start_serving(&mut self, names: &[&str]) {
        self.start_mesh(names);
        for name in names {
            self.declare(name, &format!("{name}/a"));
        }
        self.run_until_quiet();
        self.assert_converged();
    }

    /// Starts a guest, which joins through a seed.
    pub(crate) fn start_guest(&mut self, name: &str, seed: &str) {
        self.start_with(name, |config| {
            config.role = Role::Guest;
            config.endpoints.clear();
        });
        self.join(name, seed);
    }

    /// Gives a node a seed.
    pub(crate) fn join(&mut self, name: &str, seed: &str) {
        self.command(name, Command::AddSeed { endpoint: endpoint(seed) });
    }

    /// Gives a node a hint.
    pub(crate) fn hint(&mut self, name: &str, at: &str) {
        self.command(name, Command::AddHint { endpoint: endpoint(at) });
    }

    /// Declares a state.
    #[track_caller]
    pub(crate) fn declare(&mut self, name: &str, text: &str) {
        let result = self.try_declare(name, declaration(text));
        assert_eq!(result, Ok(()), "{name} declares {text}");
    }

    pub(crate) fn try_declare(
        &mut self,
        name: &str,
        declaration: Declaration,
    ) -> Result<(), CommandError> {
        self.try_command(name, |ticket| Command::Declare { ticket, declaration })
    }

    /// Changes the encoding of what is declared.
    #[track_caller]
    pub(crate) fn redeclare(&mut self, name: &str, text: &str, encoding: &str) {
        let declaration = Declaration::new(key(text), Kind::State, encoding);
        let result = self.try_command(name, |ticket| Command::Redeclare { ticket, declaration });
        assert_eq!(result, Ok(()), "{name} declares {text} again");
    }

    #[track_caller]
    pub(crate) fn undeclare(&mut self, name: &str, text: &str) {
        let key = key(text);
        let result = self.try_command(name, |ticket| Command::Undeclare { ticket, key });
        assert_eq!(result, Ok(()), "{name} undeclares {text}");
    }

    /// Subscribes under a number that is new to the node.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, name: &str, keys: &str) -> SubscriptionId {
        let (subscription, keys) = (SubscriptionId(self.ticket().0), expr(keys));
        let result =
            self.try_command(name, |ticket| Command::Subscribe { ticket, subscription, keys });
        assert_eq!(result, Ok(()), "{name} subscribes");
        subscription
    }

    pub(crate) fn unsubscribe(&mut self, name: &str, subscription: SubscriptionId) {
        self.command(name, Command::Unsubscribe { subscription });
    }

    /// Gives a command that is carried out at once or never.
    pub(crate) fn try_command(
        &mut self,
        name: &str,
        command: impl FnOnce(Ticket) -> Command,
    ) -> Result<(), CommandError> {
        let ticket = self.ticket();
        self.command(name, command(ticket));
        self.node(name).done(ticket).expect("an answer at once").clone()
    }

    /// Asks the bus, with ten seconds to answer.
    pub(crate) fn request(&mut self, name: &str, keys: &str) -> Ticket {
        self.request_within(name, keys, Duration::from_secs(10))
    }

    pub(crate) fn request_within(&mut self, name: &str, keys: &str, timeout: Duration) -> Ticket {
        let (ticket, keys) = (self.ticket(), expr(keys));
        self.command(name, Command::Request { ticket, keys, timeout });
        ticket
    }

    /// Asks the bus and waits for the report.
    #[track_caller]
    pub(crate) fn ask(&mut self, name: &str, keys: &str) -> dse_core::protocol::Report {
        let ticket = self.request(name, keys);
        self.run_until("a report", |world| world.node(name).report(ticket).is_some());
        self.node(name).report(ticket).expect("it was waited for").clone()
    }

    /// Does a node of this name run?
    pub(crate) fn runs(&self, name: &str) -> bool {
        self.nodes.iter().any(|node| node.name == name && node.is_running())
    }

    /// Does this node declare this key?
    pub(crate) fn declares(&self, name: &str, text: &str) -> bool {
        self.node(name).own.contains_key(&key(text))
    }

    /// The numbers of a node's subscriptions.
    pub(crate) fn subscriptions(&self, name: &str) -> Vec<SubscriptionId> {
        self.node(name).subscriptions.keys().copied().collect()
    }

    pub(crate) fn leave(&mut self, name: &str) {
        self.command(name, Command::Leave);
    }

    /// Starts counting messages anew at every node.
    pub(crate) fn reset_counts(&mut self) {
        for node in &mut self.nodes {
            node.reset_counts();
        }
    }

    /// Changes what the node of this name is before it runs, or between its lives.
    pub(crate) fn node_mut(&mut self, name: &str) -> &mut Node {
        let index = match self.nodes.iter().position(|node| node.name == name) {
            Some(index) => index,
            None => self.place(name),
        };
        &mut self.nodes[index]
    }

    /// A stranger dials a node. Returns the stranger's number of the link.
    pub(crate) fn dial(&mut self, stranger: &str, to: &str) -> LinkId {
        let from = self.index(stranger);
        let before = self.links.len();
        let life = self.nodes[from].life;
        let dial = dse_core::protocol::DialId(before as u64);
        self.arrive(from, life, dial, &endpoint(to));
        assert!(self.links.len() > before, "{to} does not listen");
        self.establish(before);
        number(before, 0)
    }

    /// The links to a stranger that others dialled and on which it has not spoken yet.
    pub(crate) fn fresh_links(&mut self, stranger: &str) -> Vec<LinkId> {
        let index = self.index(stranger);
        let fresh = self.links.iter().enumerate().filter(|(_, link)| {
            link.ends[1].node == index && link.ends[1].state == super::network::State::Up
        });
        let all = fresh.map(|(link, _)| number(link, 1));
        all.filter(|link| !self.spoken.contains(link)).collect()
    }

    /// A stranger sends a message.
    pub(crate) fn say(&mut self, link: LinkId, message: Message) {
        self.spoken.insert(link);
        self.send(link, Lane::Message(wire::encode(&message)));
    }

    /// A stranger sends what may be no message at all.
    pub(crate) fn say_bytes(&mut self, link: LinkId, bytes: &[u8]) {
        self.send(link, Lane::Message(bytes.to_vec().into()));
    }

    /// What a stranger heard on a link, in order.
    pub(crate) fn heard(&self, stranger: &str, link: LinkId) -> Vec<Message> {
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
    pub(crate) fn hello_from(&mut self, stranger: &str, link: LinkId) -> Hello {
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
    pub(crate) fn stands(&self, link: LinkId) -> bool {
        let (link, side) = super::place_of(link);
        self.links[link].ends[side].state == super::network::State::Up
    }

    /// A stranger dials a node and opens the link as a member of a larger or smaller id
    /// would. Returns the link once the node took it.
    #[track_caller]
    pub(crate) fn open_as_stranger(&mut self, stranger: &str, to: &str) -> LinkId {
        let link = self.dial(stranger, to);
        let hello = stranger_hello(stranger, 1);
        self.say(link, Message::Hello(hello));
        let theirs = self.hello_from(stranger, link);
        let echo = theirs.link_nonce;
        let open = Open { echo, held: None, known: None, fingerprints: Vec::new() };
        self.say(link, Message::Open(open));
        let there = self.other_end(link).1;
        self.run_until("an open link", |world| world.open_links(to).contains(&there));
        link
    }
}

/// The Hello of a stranger on its n-th link.
pub(crate) fn stranger_hello(name: &str, link: u64) -> Hello {
    Hello {
        min_version: wire::VERSION,
        max_version: wire::VERSION,
        features: 0,
        bus: BusId::new("plant").expect("a bus id"),
        node: id(name),
        claim: Claim { returned: false, incarnation: Incarnation(1), nonce: 7 },
        role: Role::Member,
        link_nonce: 1000 + link,
        endpoints: vec![endpoint(name)],
    }
}
