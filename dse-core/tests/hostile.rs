//! Schedules of peers that keep no rule, which once broke one: each was found by
//! `cargo xtask fuzz` and is named for what it did.

use bytes::Bytes;
use dse_core::protocol::wire::{self, Decoded};
use dse_core::protocol::{
    BusId, Claim, Config, ControlBus, Endpoint, Event, Features, Hello, Incarnation, Input,
    Instant, Leave, LeaveReason, LinkId, Member, Members, Message, NodeId, Open, Output,
    RejectReason, Role,
};

/// The node that peers are hostile to: by its id it decides about links with `z` and
/// offers them to `a`.
struct Victim {
    core: ControlBus,
    now: Instant,
}

impl Victim {
    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(bus(), node("m"), Incarnation(1));
        change(&mut config);
        Self { core: ControlBus::new(config, 7, Instant::ZERO), now: Instant::ZERO }
    }

    fn feed(&mut self, input: Input) -> Vec<Output> {
        self.core.handle_input(self.now, input);
        core::iter::from_fn(|| self.core.poll_output()).collect()
    }

    fn say(&mut self, link: u64, message: &Message) -> Vec<Event> {
        let bytes: Bytes = wire::encode(message);
        events(self.feed(Input::Message { link: LinkId(link), bytes }))
    }

    /// A link comes up; gives the nonce of the node's Hello.
    fn link_up(&mut self, link: u64) -> u64 {
        let input = Input::LinkUp { link: LinkId(link), dial: None, identity: None };
        let outputs = self.feed(input);
        let nonce = outputs.iter().find_map(|output| match output {
            Output::Send { bytes, .. } => match wire::decode(bytes) {
                Ok(Decoded::Known(Message::Hello(hello))) => Some(hello.link_nonce),
                _ => None,
            },
            _ => None,
        });
        nonce.expect("Hello comes first")
    }

    fn fall(&mut self, link: u64) -> Vec<Event> {
        events(self.feed(Input::LinkDown { link: LinkId(link), error: "it fell".into() }))
    }

    /// A peer does what opens a link.
    fn open(&mut self, link: u64, hello: Hello) -> Vec<Event> {
        let echo = self.link_up(link);
        let mut told = self.say(link, &Message::Hello(hello));
        let open = Open { echo, held: None, known: None, census: Vec::new() };
        told.extend(self.say(link, &Message::Open(open)));
        told
    }
}

fn events(outputs: Vec<Output>) -> Vec<Event> {
    let event = |output| match output {
        Output::Event(event) => Some(event),
        _ => None,
    };
    outputs.into_iter().filter_map(event).collect()
}

fn bus() -> BusId {
    BusId::new("bus").expect("a bus id")
}

fn node(name: &str) -> NodeId {
    NodeId::new(name).expect("a node id")
}

fn hello(name: &str, role: Role) -> Hello {
    Hello {
        min_version: wire::VERSION,
        max_version: wire::VERSION,
        features: Features::SUPPORTED,
        bus: bus(),
        node: node(name),
        claim: Claim { returned: false, incarnation: Incarnation(1), nonce: 1 },
        role,
        lasting: true,
        link_nonce: 1,
        endpoints: Vec::new(),
    }
}

/// What another start of the node says.
fn start(name: &str, incarnation: u64, role: Role) -> Hello {
    let mut hello = hello(name, role);
    hello.claim.incarnation = Incarnation(incarnation);
    hello
}

#[test]
fn a_guest_that_says_hello_again_as_a_member_is_another_start_of_the_node() {
    for (first, then) in [(Role::Guest, Role::Member), (Role::Member, Role::Guest)] {
        // So the second would not be let in.
        let mut victim = Victim::with(|config| {
            (config.peers_max, config.guests_max) = (2, 1);
        });
        victim.open(1, hello("z", first));
        let told = victim.open(2, hello("z", then));
        let opened = told.iter().any(|event| matches!(event, Event::LinkOpened { .. }));
        assert!(!opened, "a link of another role in the place of the first: {told:?}");
        let peers = victim.core.peers();
        assert_eq!(peers.len(), 1);
        assert_eq!(peers[0].info.role, first);
    }
}

#[test]
fn a_member_that_is_down_and_comes_back_as_a_guest_is_forgotten() {
    let mut victim = Victim::with(|_| {});
    victim.open(1, hello("z", Role::Member));
    victim.fall(1);
    let told = victim.open(2, start("z", 2, Role::Guest));
    assert!(told.contains(&Event::PeerForgotten { node: node("z") }), "{told:?}");
}

#[test]
fn of_the_links_that_the_loss_of_the_last_one_ends_none_opens_on_the_way() {
    let mut victim = Victim::with(|_| {});
    victim.open(1, hello("z", Role::Member));
    // Two more starts of z: the second waits for the outcome between the first two.
    for link in 2..=3 {
        let mut other = hello("z", Role::Member);
        (other.claim.nonce, other.link_nonce) = (link, link);
        victim.open(link, other);
    }
    let told = victim.fall(1);
    let opened = told.iter().any(|event| matches!(event, Event::LinkOpened { .. }));
    assert!(!opened, "a link with the claim of before: {told:?}");
}

#[test]
fn members_that_come_and_vanish_are_kept_only_as_many_as_the_bus_has_room_for() {
    let mut victim = Victim::with(|config| config.peers_max = 4);
    for link in 1..20 {
        victim.now = Instant::from_nanos(link);
        victim.open(link, hello(&format!("z{link}"), Role::Member));
        victim.fall(link);
    }
    let kept: Vec<_> = victim.core.peers().into_iter().map(|peer| peer.info.node).collect();
    assert_eq!(kept, [node("z17"), node("z18"), node("z19")]);
}

#[test]
fn of_two_that_say_hello_while_there_is_room_for_one_one_is_refused() {
    for (first, second) in [("y", "z"), ("a", "b"), ("z", "a")] {
        let mut victim = Victim::with(|config| config.peers_max = 2);
        let echoes = [victim.link_up(1), victim.link_up(2)];
        for (link, name) in [(1, first), (2, second)] {
            victim.say(link, &Message::Hello(hello(name, Role::Member)));
        }
        let mut told = Vec::new();
        for (link, echo) in (1..).zip(echoes) {
            let open = Open { echo, held: None, known: None, census: Vec::new() };
            told.extend(victim.say(link, &Message::Open(open)));
        }
        let full = RejectReason::BusFull { limit: 2 };
        let refused =
            |event: &Event| matches!(event, Event::PeerRefused { reason, .. } if *reason == full);
        assert_eq!(told.iter().filter(|event| refused(event)).count(), 1, "{told:?}");
        assert_eq!(victim.core.peers().len(), 1);
    }
}

#[test]
fn a_member_that_left_is_forgotten_although_a_guest_of_its_id_comes_before_its_link_falls() {
    for guest_falls_first in [true, false] {
        let mut victim = Victim::with(|_| {});
        victim.open(1, hello("z", Role::Member));
        victim.say(1, &Message::Leave(Leave { reason: LeaveReason::Asked }));
        victim.open(2, start("z", 2, Role::Guest));
        let forgotten = Event::PeerForgotten { node: node("z") };
        if guest_falls_first {
            assert!(!victim.fall(2).contains(&forgotten), "the member's link is still read");
        }
        assert!(victim.fall(1).contains(&forgotten));
        assert!(!victim.fall(2).contains(&forgotten), "once is enough");
    }
}

#[test]
fn a_node_that_left_twice_is_forgotten_when_the_last_of_its_links_falls() {
    let mut victim = Victim::with(|_| {});
    for link in [1, 2] {
        victim.open(link, start("z", link, Role::Member));
        victim.say(link, &Message::Leave(Leave { reason: LeaveReason::Asked }));
    }
    let forgotten = Event::PeerForgotten { node: node("z") };
    assert!(!victim.fall(1).contains(&forgotten), "the second link is still read");
    assert!(victim.fall(2).contains(&forgotten));
}

#[test]
fn a_member_is_not_waited_for_once_it_is_listed_where_this_node_cannot_dial() {
    let mut victim = Victim::with(|config| config.schemes = vec!["mem".into()]);
    victim.open(1, hello("z", Role::Member));
    let mut list = |endpoint| {
        let endpoints = vec![Endpoint::new(endpoint).expect("an endpoint")];
        let member = Member { node: node("b"), incarnation: Incarnation(1), endpoints };
        let members = Members { request: None, last: true, members: vec![member] };
        let bytes = wire::encode(&Message::Members(members));
        let outputs = victim.feed(Input::Message { link: LinkId(1), bytes });
        for output in outputs {
            if let Output::Connect { dial, .. } = output {
                victim.feed(Input::ConnectFailed { dial, error: "nobody there".into() });
            }
        }
        victim.core.poll_timeout()
    };
    assert!(list("mem://b").is_some(), "it is tried again");
    assert_eq!(list("quic://b"), None, "there is nothing to try, now or at any time");
}
