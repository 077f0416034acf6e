//! What tests ask of a world, in few words.

use std::time::Duration;

use dse_core::protocol::{
    BusId, Command, CommandError, Config, Declaration, Endpoint, Incarnation, InterestOptions, Key,
    KeyExpr, Kind, LinkId, NodeId, Role, SubscriptionId, Ticket, Watch,
};

use super::{Node, World, place_of};

/// A node id.
///
/// # Panics
/// It is none; so with the functions below.
pub fn id(name: &str) -> NodeId {
    NodeId::new(name).expect("a node id")
}

/// A key.
pub fn key(text: &str) -> Key {
    Key::new(text).expect("a key")
}

/// A key expression.
pub fn expr(text: &str) -> KeyExpr {
    KeyExpr::new(text).expect("a key expression")
}

/// Where the node of this name listens.
pub fn endpoint(name: &str) -> Endpoint {
    Endpoint::new(format!("mem://{name}")).expect("an endpoint")
}

/// A state of this key.
pub fn declaration(text: &str) -> Declaration {
    Declaration::new(key(text), Kind::State, "text/plain")
}

/// The configuration of a member of this name.
pub fn member(name: &str, incarnation: u64) -> Config {
    let bus = BusId::new("plant").expect("a bus id");
    let mut config = Config::new(bus, id(name), Incarnation(incarnation));
    config.endpoints = vec![endpoint(name)];
    config.schemes = vec!["mem".into()];
    config
}

impl World {
    /// Starts members of these names, each of which joins through the first.
    pub fn start_mesh(&mut self, names: &[&str]) {
        for name in names {
            self.start(name);
            if *name != names[0] {
                self.join(name, names[0]);
            }
        }
        self.run_until_quiet();
    }

    /// As [`start_mesh`](Self::start_mesh), with a declaration `{name}/a` at each.
    pub fn start_serving(&mut self, names: &[&str]) {
        self.start_mesh(names);
        for name in names {
            self.declare(name, &format!("{name}/a"));
        }
        self.run_until_quiet();
        self.assert_converged();
    }

    /// Starts a guest, which joins through a seed.
    pub fn start_guest(&mut self, name: &str, seed: &str) {
        self.start_with(name, |config| {
            config.role = Role::Guest;
            config.endpoints.clear();
        });
        self.join(name, seed);
    }

    /// Gives a node a seed.
    pub fn join(&mut self, name: &str, seed: &str) {
        self.command(name, Command::AddSeed { endpoint: endpoint(seed) });
    }

    /// Gives a node a hint.
    pub fn hint(&mut self, name: &str, at: &str) {
        self.command(name, Command::AddHint { endpoint: endpoint(at) });
    }

    /// Declares a state.
    #[track_caller]
    pub fn declare(&mut self, name: &str, text: &str) {
        let result = self.try_declare(name, declaration(text));
        assert_eq!(result, Ok(()), "{name} declares {text}");
    }

    /// Declares something, if it may.
    ///
    /// # Errors
    /// What the control bus says.
    pub fn try_declare(
        &mut self,
        name: &str,
        declaration: Declaration,
    ) -> Result<(), CommandError> {
        self.try_command(name, |ticket| Command::Declare { ticket, declaration })
    }

    /// Changes the encoding of what is declared.
    #[track_caller]
    pub fn redeclare(&mut self, name: &str, text: &str, encoding: &str) {
        let declaration = Declaration::new(key(text), Kind::State, encoding);
        let result = self.try_command(name, |ticket| Command::Redeclare { ticket, declaration });
        assert_eq!(result, Ok(()), "{name} declares {text} again");
    }

    /// Takes a declaration back.
    #[track_caller]
    pub fn undeclare(&mut self, name: &str, text: &str) {
        let key = key(text);
        let result = self.try_command(name, |ticket| Command::Undeclare { ticket, key });
        assert_eq!(result, Ok(()), "{name} undeclares {text}");
    }

    /// Subscribes under a number that is new to the node.
    #[track_caller]
    pub fn subscribe(&mut self, name: &str, keys: &str) -> SubscriptionId {
        self.subscribe_with(name, keys, InterestOptions::default())
    }

    /// The same, and asks this of the routes.
    #[track_caller]
    pub fn subscribe_with(
        &mut self,
        name: &str,
        keys: &str,
        options: InterestOptions,
    ) -> SubscriptionId {
        let (subscription, keys) = (SubscriptionId(self.ticket().0), expr(keys));
        let subscribe = |ticket| Command::Subscribe { ticket, subscription, keys, options };
        let result = self.try_command(name, subscribe);
        assert_eq!(result, Ok(()), "{name} subscribes");
        subscription
    }

    /// Ends a subscription.
    pub fn unsubscribe(&mut self, name: &str, subscription: SubscriptionId) {
        self.command(name, Command::Unsubscribe { subscription });
    }

    /// Declares a state and waits for no word of it: for worlds that keep no events.
    pub fn declare_quietly(&mut self, name: &str, text: &str) {
        let (ticket, declaration) = (self.ticket(), declaration(text));
        self.command(name, Command::Declare { ticket, declaration });
    }

    /// Gives a command that is carried out at once or never.
    ///
    /// # Errors
    /// What the control bus says.
    pub fn try_command(
        &mut self,
        name: &str,
        command: impl FnOnce(Ticket) -> Command,
    ) -> Result<(), CommandError> {
        let ticket = self.ticket();
        self.command(name, command(ticket));
        self.node(name).done(ticket).expect("an answer at once").clone()
    }

    /// Asks the bus, with ten seconds to answer.
    pub fn request(&mut self, name: &str, keys: &str) -> Ticket {
        self.request_within(name, keys, Duration::from_secs(10))
    }

    /// Asks the bus, with so much time to answer.
    pub fn request_within(&mut self, name: &str, keys: &str, timeout: Duration) -> Ticket {
        let (ticket, keys) = (self.ticket(), expr(keys));
        self.command(name, Command::Request { ticket, keys, timeout });
        ticket
    }

    /// Asks the bus and waits for the report.
    #[track_caller]
    pub fn ask(&mut self, name: &str, keys: &str) -> dse_core::protocol::Report {
        let ticket = self.request(name, keys);
        self.run_until("a report", |world| world.node(name).report(ticket).is_some());
        self.node(name).report(ticket).expect("it was waited for").clone()
    }

    /// How an end of a link is watched, and when it tells the other that it lives.
    pub fn watched(&self, link: LinkId) -> Watch {
        let (link, side) = place_of(link);
        self.links[link].ends[side].watch
    }

    /// Was there ever a node of this name?
    pub fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Does a node of this name run?
    pub fn runs(&self, name: &str) -> bool {
        self.by_name.get(name).is_some_and(|index| self.nodes[*index].is_running())
    }

    /// Does this node declare this key?
    pub fn declares(&self, name: &str, text: &str) -> bool {
        self.node(name).own.contains_key(&key(text))
    }

    /// The numbers of a node's subscriptions.
    pub fn subscriptions(&self, name: &str) -> Vec<SubscriptionId> {
        self.node(name).subscriptions.keys().copied().collect()
    }

    /// Tells a node to leave the bus.
    pub fn leave(&mut self, name: &str) {
        self.command(name, Command::Leave);
    }

    /// Starts counting messages anew at every node.
    pub fn reset_counts(&mut self) {
        for node in &mut self.nodes {
            node.reset_counts();
        }
    }

    /// Changes what the node of this name is before it runs, or between its lives.
    pub fn node_mut(&mut self, name: &str) -> &mut Node {
        let index = match self.by_name.get(name) {
            Some(index) => *index,
            None => self.place(name),
        };
        &mut self.nodes[index]
    }
}
