//! The control bus of each node, whose messages travel on the links of the data. What it says of
//! links, routes and keys opens and closes what the data machines have, as in the runtime.

use dse_core::protocol::{
    BusId, Command, Config, ControlBus, Declaration, Event, Incarnation, Input, Instant, LinkId,
    NodeId, Output, SubscriptionId, Ticket,
};

use super::Bus;
use super::parts::{Action, Said, nanos};
use crate::world::key;

impl Bus {
    /// The control bus of a node that starts. It dials nobody: links come from elsewhere.
    pub(super) fn control_bus(&self, id: NodeId, incarnation: u64) -> Option<Box<ControlBus>> {
        let bus = BusId::new("plant").expect("a bus id");
        let seed = incarnation ^ self.now ^ id.as_str().bytes().map(u64::from).sum::<u64>() << 32;
        let config = Config::new(bus, id, Incarnation(incarnation));
        self.has_control
            .then(|| Box::new(ControlBus::new(config, seed, Instant::from_nanos(self.now))))
    }

    /// Gives the control bus of a node something, and does what it wants.
    pub(super) fn feed(&mut self, node: usize, input: Input) {
        let now = self.instant();
        let Some(core) = &mut self.slots[node].core else { return };
        core.handle_input(now, input);
        while let Some(output) = self.slots[node].core.as_mut().and_then(|it| it.poll_output()) {
            self.carry_out(node, output);
        }
    }

    /// As [`feed`](Self::feed), for a command with a ticket.
    pub(super) fn command(&mut self, node: usize, command: impl FnOnce(Ticket) -> Command) {
        self.ids += 1;
        self.feed(node, Input::Command(command(Ticket(self.ids))));
    }

    fn carry_out(&mut self, node: usize, output: Output) {
        match output {
            Output::Connect { .. } => unreachable!("no node has an endpoint"),
            Output::Send { link, bytes } => self.say(link, node, Said::Message(bytes)),
            Output::Disconnect { link } => {
                self.say(link, node, Said::Close);
                self.closes(link, node);
            }
            Output::Probe { link } => self.plan_probe(link, node),
            Output::Watch { .. } => {}
            Output::Event(event) => self.event(node, event),
        }
    }

    /// Puts something on the control lane away from a node.
    fn say(&mut self, link: LinkId, node: usize, said: Said) {
        let link = link.0 as usize;
        let side = self.side_of(link, node);
        let at = self.now + nanos(self.links[link].path.delay);
        self.links[link].lanes[1 - side].control.push_back((at, said));
        self.plan_at(at, Action::Control { link, side: 1 - side });
    }

    /// The control bus of a node is done with a link. What a peer sent before it left is read.
    fn closes(&mut self, link: LinkId, node: usize) {
        let link = link.0 as usize;
        let side = self.side_of(link, node);
        let other = self.links[link].ends[1 - side];
        if self.slots[node].left.contains(&self.slots[other].id) {
            self.links[link].lanes[side].left = true;
            self.plan_at(self.now, Action::Arrive { link, side });
        } else {
            self.close_end(link, side, false, "is closed");
        }
    }

    /// A probe is answered after a round trip, if the other end carries.
    fn plan_probe(&mut self, link: LinkId, node: usize) {
        let link = link.0 as usize;
        let side = self.side_of(link, node);
        let after = self.links[link].path.delay * 2;
        self.plan(after, Action::Probed { link, side });
    }

    /// A probe ends.
    pub(super) fn probed(&mut self, link: usize, side: usize) {
        let [node, other] = [side, 1 - side].map(|side| self.links[link].ends[side]);
        let state = &self.links[link];
        if !state.up[side] {
            return;
        }
        let answers = state.up[1 - side] && !state.frozen && !self.slots[other].paused;
        if answers {
            self.feed(node, Input::Probed { link: LinkId(link as u64) });
            self.touch(node);
        } else if !self.is_cut(link) {
            // The other end finds out in its own time.
            for side in [side, 1 - side] {
                self.lose_lane(link, side);
                self.plan(self.links[link].path.delay, Action::Fall { link, side });
            }
            self.links[link].frozen = true;
        }
    }

    fn event(&mut self, node: usize, event: Event) {
        let now = self.instant();
        self.remark(|| format!("  the control bus of node {node}: {event:?}"));
        let Some(running) = &mut self.slots[node].node else { return };
        running.set_now(now);
        match event {
            Event::LinkOpened { link, peer } => {
                running.open_link(link.0, (peer.node, peer.incarnation));
                let link = link.0 as usize;
                let side = self.side_of(link, node);
                self.plan_at(self.now, Action::Arrive { link, side });
            }
            Event::LinkClosed { link, node: peer } => {
                let _ = peer;
                self.closes(link, node);
            }
            Event::NodeUp { peer } => {
                self.slots[node].left.remove(&peer.node);
            }
            Event::NodeLeft { node: peer, .. } => {
                self.slots[node].left.insert(peer);
            }
            Event::Undeclared { node: peer, declaration, .. } => {
                running.undeclared(&peer, &declaration.key);
            }
            Event::RouteAdded { key, link, options }
            | Event::RouteChanged { key, link, options } => {
                running.set_route(link.0, &key, Some(options));
            }
            Event::RouteRemoved { key, link } => running.set_route(link.0, &key, None),
            Event::Stopped { .. } => self.slots[node].stopped = true,
            _ => {}
        }
    }

    /// A key is exposed.
    pub(super) fn expose(&mut self, node: usize, text: &str, kind: dse_core::protocol::Kind) {
        let declaration = Declaration::new(key(text), kind, "x");
        self.command(node, |ticket| Command::Declare { ticket, declaration });
    }

    /// A key is exposed no more.
    pub(super) fn conceal(&mut self, node: usize, text: &str) {
        let key = key(text);
        self.command(node, |ticket| Command::Undeclare { ticket, key });
    }

    /// A subscription is no more.
    pub(super) fn withdraw(&mut self, node: usize, subscription: u64) {
        let subscription = SubscriptionId(subscription);
        self.feed(node, Input::Command(Command::Unsubscribe { subscription }));
    }
}
