//! Schedules of peers that keep no rule, which once broke one: each was found by
//! `cargo xtask fuzz` and is named for what it did.

use bytes::Bytes;
use dse_core::protocol::wire::{self, Decoded};
use dse_core::protocol::{
    BusId, Claim, Config, ControlBus, Event, Hello, Incarnation, Input, Instant, LinkId, Message,
    NodeId, Open, Output, Role,
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

    /// A peer does what opens a link.
    fn open(&mut self, link: u64, hello: Hello) -> Vec<Event> {
        let echo = self.link_up(link);
        let mut told = self.say(link, &Message::Hello(hello));
        let open = Open { echo, held: None, known: None, fingerprints: Vec::new() };
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
        features: 0,
        bus: bus(),
        node: node(name),
        claim: Claim { returned: false, incarnation: Incarnation(1), nonce: 1 },
        role,
        link_nonce: 1,
        endpoints: Vec::new(),
    }
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
    victim.feed(Input::LinkDown { link: LinkId(1), error: "it fell".into() });
    let mut guest = hello("z", Role::Guest);
    guest.claim.incarnation = Incarnation(2);
    let told = victim.open(2, guest);
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
    let fell = Input::LinkDown { link: LinkId(1), error: "it fell".into() };
    let told = events(victim.feed(fell));
    let opened = told.iter().any(|event| matches!(event, Event::LinkOpened { .. }));
    assert!(!opened, "a link with the claim of before: {told:?}");
}
