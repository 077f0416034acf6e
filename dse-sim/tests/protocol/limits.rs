//! Refusals that name their reason, and peers that keep no rule (law L6).

use std::time::Duration;

use dse_core::protocol::wire::VERSION;
use dse_core::protocol::{
    Answer, BusId, Command, CommandError, ControlBus, DialError, Event, Features, Hello,
    Incarnation, IndexVersion, Input, Instant, Interest, InterestOptions, LeaveAck, Member,
    Members, Message, Open, Output, Reject, RejectReason, Request, Snapshot, SubscriptionId,
    Ticket, limits,
};

use dse_sim::world::{Random, World, declaration, endpoint, expr, id, member, stranger_hello};

const SECOND: Duration = Duration::from_secs(1);

fn rejections(world: &World, at: &str) -> Vec<RejectReason> {
    let events = world.node(at).events.iter();
    let reasons = events.filter_map(|(_, event)| match event {
        Event::DialFailed {
            error: DialError::Rejected(reason) | DialError::Refused(reason),
            ..
        } => Some(reason.clone()),
        _ => None,
    });
    reasons.collect()
}

fn heard_rejections(
    world: &World,
    stranger: &str,
    link: dse_core::protocol::LinkId,
) -> Vec<RejectReason> {
    let rejects = world.heard(stranger, link).into_iter().filter_map(|message| match message {
        Message::Reject(reject) => Some(reject.reason),
        _ => None,
    });
    rejects.collect()
}

#[test]
fn a_node_of_another_bus_is_told_so() {
    let mut world = World::new(1);
    world.start("a");
    world.start_with("b", |config| config.bus = BusId::new("other").expect("a bus id"));
    world.join("b", "a");
    world.run_for(SECOND);
    let reasons = rejections(&world, "b");
    let named = |name: &str| RejectReason::WrongBus { bus: BusId::new(name).expect("a bus id") };
    assert!(!reasons.is_empty());
    assert!(reasons.iter().all(|reason| [named("plant"), named("other")].contains(reason)));
    assert!(world.node("a").linked().is_empty());
}

#[test]
fn without_a_common_version_both_hear_which_there_are() {
    let mut world = World::new(2);
    world.start("a");
    world.start_stranger("z");
    let link = world.dial("z", "a");
    let mut hello = stranger_hello("z", 1);
    (hello.min_version, hello.max_version) = (VERSION + 1, VERSION + 3);
    world.say(link, Message::Hello(hello));
    world.run_until("the end of the link", |world| !world.stands(link));
    let reason = RejectReason::NoCommonVersion { min: VERSION, max: VERSION };
    assert_eq!(heard_rejections(&world, "z", link), std::slice::from_ref(&reason));
    let told =
        |event: &Event| matches!(event, Event::PeerRefused { reason: told, .. } if *told == reason);
    assert_eq!(world.node("a").count(told), 1);
}

#[test]
fn a_newer_peer_that_still_speaks_our_version_is_welcome() {
    let mut world = World::new(3);
    world.start("a");
    world.start_stranger("z");
    let link = world.dial("z", "a");
    let mut hello = stranger_hello("z", 1);
    (hello.max_version, hello.features) = (VERSION + 3, Features::from_bits(u64::MAX));
    world.say(link, Message::Hello(hello));
    let echo = world.hello_from("z", link).link_nonce;
    let open = Open { echo, held: None, known: None, census: Vec::new() };
    world.say(link, Message::Open(open));
    world.run_for(SECOND);
    assert_eq!(world.node("a").linked(), ["z"]);
}

#[test]
fn a_full_bus_takes_nobody() {
    let mut world = World::new(4);
    for name in ["a", "b", "c"] {
        world.start_with(name, |config| config.peers_max = 2);
    }
    world.join("b", "a");
    world.run_until_quiet();
    world.join("c", "a");
    world.run_for(SECOND);
    assert!(rejections(&world, "c").contains(&RejectReason::BusFull { limit: 2 }));
    assert_eq!(world.node("a").linked(), ["b"]);
    world.leave("b");
    world.run_until_quiet();
    world.assert_linked("a", "c");
}

#[test]
fn an_authenticated_name_allows_that_id_and_what_is_below_it() {
    for (certificate, node, welcome) in [
        ("web", "web", true),
        ("web", "web.pub-7f3a", true),
        ("web", "webx", false),
        ("web", "other", false),
        ("web.a", "web", false),
    ] {
        let mut world = World::new(5);
        world.start_with("server", |_| {});
        world.node_mut("client").certificate = Some(certificate.into());
        world.start_with("client", |config| config.node = id(node));
        world.join("client", "server");
        world.run_for(SECOND);
        let linked = world.node("server").linked() == [node];
        assert_eq!(linked, welcome, "certificate {certificate}, id {node}");
        let reason = RejectReason::WrongIdentity { certified: certificate.into() };
        assert_eq!(rejections(&world, "client").contains(&reason), !welcome);
    }
}

#[test]
fn a_node_declares_no_more_than_it_may() {
    let (mut bus, mut ticket) = (lone_bus(), 0);
    let mut declare = |text: String| {
        ticket += 1;
        let declaration = declaration(&text);
        result_of(&mut bus, |ticket| Command::Declare { ticket, declaration }, ticket)
    };
    for number in 0..limits::DECLARATIONS_PER_NODE {
        assert_eq!(declare(format!("a/{number}")), Ok(()));
    }
    let limit = limits::DECLARATIONS_PER_NODE;
    assert_eq!(declare("a/more".into()), Err(CommandError::TooManyDeclarations { limit }));
}

#[test]
fn a_node_subscribes_no_more_than_one_interest_can_say() {
    let mut bus = lone_bus();
    let mut subscribe = |number: u64| {
        let (subscription, keys) = (SubscriptionId(number), expr(&format!("a/{number}/*")));
        let options = InterestOptions::default();
        let command = |ticket| Command::Subscribe { ticket, subscription, keys, options };
        result_of(&mut bus, command, number)
    };
    let limit = limits::PATTERNS_PER_INTEREST;
    for number in 0..limit as u64 {
        assert_eq!(subscribe(number), Ok(()));
    }
    assert_eq!(subscribe(1 << 20), Err(CommandError::TooManySubscriptions { limit }));
}

#[test]
fn a_declaration_beyond_its_bounds_is_refused_with_the_bound() {
    let mut world = World::new(6);
    world.start("a");
    let mut long = declaration("a/x");
    long.encoding = "x".repeat(limits::ENCODING_BYTES + 1).into();
    let mut wide = declaration("a/y");
    wide.meta.push(("name".into(), "x".repeat(limits::DECLARATION_BYTES).into()));
    for (declaration, bound) in [(long, "127"), (wide, "2048")] {
        match world.try_declare("a", declaration) {
            Err(CommandError::InvalidDeclaration { why, .. }) => assert!(why.contains(bound)),
            other => panic!("{other:?}"),
        }
    }
}

/// A control bus with no world around it.
fn lone_bus() -> ControlBus {
    ControlBus::new(member("a", 1), 1, Instant::ZERO)
}

fn result_of(
    bus: &mut ControlBus,
    command: impl FnOnce(Ticket) -> Command,
    ticket: u64,
) -> Result<(), CommandError> {
    bus.handle_input(Instant::ZERO, Input::Command(command(Ticket(ticket))));
    let outputs: Vec<_> = core::iter::from_fn(|| bus.poll_output()).collect();
    let done = outputs.into_iter().find_map(|output| match output {
        Output::Event(Event::Done { result, .. }) => Some(result),
        _ => None,
    });
    done.expect("an answer at once")
}

/// Messages that break a rule on an open link.
fn faults_on_an_open_link() -> Vec<Message> {
    let crowded = |name: &str| vec![endpoint(name); limits::ENDPOINTS_PER_NODE + 1];
    let snapshot = |part, declarations| {
        Message::Snapshot(Snapshot { version: IndexVersion(1), part, last: true, declarations })
    };
    let mut large = declaration("z/x");
    large.encoding = "x".repeat(limits::ENCODING_BYTES + 1).into();
    let member = Member { node: id("y"), incarnation: Incarnation(1), endpoints: crowded("y") };
    vec![
        Message::Hello(stranger_hello("z", 9)),
        Message::Open(Open { echo: 1, held: None, known: None, census: Vec::new() }),
        Message::Members(Members { request: None, last: true, members: vec![member] }),
        Message::LeaveAck(LeaveAck {}),
        snapshot(3, Vec::new()),
        snapshot(0, vec![large]),
        Message::Interest(Interest { version: 7, part: 0, last: true, patterns: Vec::new() }),
    ]
}

#[test]
fn a_broken_rule_closes_the_link_and_is_counted() {
    for message in faults_on_an_open_link() {
        let mut world = World::new(7);
        world.start("a");
        world.start_stranger("z");
        let link = world.open_as_stranger("z", "a");
        world.say(link, message.clone());
        world.run_for(Duration::from_millis(10));
        assert!(!world.stands(link), "{message:?}");
        assert_eq!(world.node("a").counters().faults, 1, "{message:?}");
        assert!(
            matches!(heard_rejections(&world, "z", link)[..], [RejectReason::Fault { .. }]),
            "{message:?}"
        );
    }
}

#[test]
fn a_message_before_the_link_is_open_closes_it() {
    let request = || Message::Request(Request { request: 1, keys: expr("**") });
    let hello = || Message::Hello(stranger_hello("z", 1));
    let open = Message::Open(Open { echo: 1, held: None, known: None, census: Vec::new() });
    let crowded = Hello {
        endpoints: vec![endpoint("z"); limits::ENDPOINTS_PER_NODE + 1],
        ..stranger_hello("z", 1)
    };
    for messages in [
        vec![request()],
        vec![open.clone()],
        vec![hello(), request()],
        vec![hello(), hello()],
        vec![hello(), open],
        vec![Message::Hello(crowded)],
    ] {
        let mut world = World::new(8);
        world.start("a");
        world.start_stranger("z");
        let link = world.dial("z", "a");
        for message in &messages {
            world.say(link, message.clone());
        }
        world.run_for(Duration::from_millis(10));
        assert!(!world.stands(link), "{messages:?}");
        assert_eq!(world.node("a").counters().faults, 1, "{messages:?}");
    }
}

#[test]
fn a_link_on_which_nothing_is_said_is_closed() {
    let mut world = World::new(9);
    world.start("a");
    world.start_stranger("z");
    let link = world.dial("z", "a");
    world.run_for(limits::HANDSHAKE_TIMEOUT - SECOND);
    assert!(world.stands(link));
    world.run_for(2 * SECOND);
    assert!(!world.stands(link));
    world.run_until_quiet();
}

#[test]
fn messages_of_a_later_version_are_skipped_and_counted() {
    let mut world = World::new(10);
    world.start("a");
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    world.say_bytes(link, &[VERSION, 200, 0, 7, 7]);
    world.say_bytes(link, &[VERSION, 201, 1, 5, 1, 9]);
    world.run_for(Duration::from_millis(10));
    assert!(world.stands(link));
    assert_eq!(world.node("a").counters().unknown_messages, 2);
    assert_eq!(world.node("a").counters().faults, 0);
}

#[test]
fn a_hostile_peer_is_closed_each_time_and_harms_nobody_else() {
    const TRIES: u64 = 500;
    let mut world = World::new(11);
    world.start_serving(&["a", "b"]);
    world.start_stranger("z");
    let mut random = Random::new(11);
    let before = world.node("a").counters().faults;
    for attempt in 0..TRIES {
        let link = world.dial("z", "a");
        for _ in 0..5 {
            let len = random.below(200) as usize;
            let mut bytes: Vec<u8> = (0..len).map(|_| random.draw() as u8).collect();
            if attempt % 2 == 0 && len > 2 {
                (bytes[0], bytes[1], bytes[2]) = (VERSION, (1 + random.below(15)) as u8, 0);
            }
            world.say_bytes(link, &bytes);
        }
        world.run_for(Duration::from_millis(5));
        assert!(!world.stands(link));
    }
    assert_eq!(world.node("a").counters().faults - before, TRIES);
    world.run_until_quiet();
    world.assert_converged();
}

#[test]
fn a_flood_on_an_open_link_leaves_nothing_behind() {
    let mut world = World::new(12);
    world.start("a");
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    for number in 0..2000 {
        let declarations = vec![declaration("z/x")];
        let (request, membership) = (number, number);
        let answer = Answer { request, part: 0, last: true, membership, declarations };
        world.say(link, Message::Answer(answer));
    }
    world.run_for(SECOND);
    assert!(world.node("a").knows().is_empty());
    assert_eq!(world.ask("a", "nothing/here").matches.len(), 0);
}

#[test]
fn more_declarations_than_a_node_may_have_close_the_link() {
    let mut world = World::new(13);
    world.start("a");
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    let mut part = 0;
    while world.stands(link) {
        assert!(part < 100, "they were all taken");
        let declarations: Vec<_> =
            (0..500).map(|number| declaration(&format!("z/{part}/{number}"))).collect();
        let version = IndexVersion(1);
        world.say(link, Message::Snapshot(Snapshot { version, part, last: false, declarations }));
        world.run_for(Duration::from_millis(2));
        part += 1;
    }
    assert!(world.node("a").knows().is_empty());
}

#[test]
fn a_faulty_member_is_not_redialled_in_a_tight_loop() {
    let mut world = World::new(14);
    world.start("a");
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    let mut links = 0;
    world.say(link, Message::LeaveAck(LeaveAck {}));
    // Each time that a dials, z opens the link and breaks a rule.
    for _ in 0..600 {
        world.run_for(SECOND / 10);
        for link in world.fresh_links("z") {
            links += 1;
            world.say(link, Message::Hello(stranger_hello("z", 10 + links)));
            let echo = world.hello_from("z", link).link_nonce;
            let open = Open { echo, held: None, known: None, census: Vec::new() };
            world.say(link, Message::Open(open));
            world.say(link, Message::LeaveAck(LeaveAck {}));
        }
    }
    assert!(links > 0, "it is tried again");
    assert!(links < 100, "{links} links in a minute");
}

#[test]
fn what_is_too_long_is_a_fault() {
    let mut world = World::new(15);
    world.start("a");
    world.start_stranger("z");
    let link = world.open_as_stranger("z", "a");
    world.say_bytes(link, &vec![VERSION; limits::CONTROL_MESSAGE_BYTES + 1]);
    world.run_for(Duration::from_millis(10));
    assert!(!world.stands(link));
    assert_eq!(world.node("a").counters().faults, 1);
}

#[test]
fn a_reject_that_answers_another_hello_is_a_fault() {
    let mut world = World::new(40);
    world.start("a");
    world.start_stranger("z");
    let link = world.dial("z", "a");
    let echo = world.hello_from("z", link).link_nonce.wrapping_add(1);
    world.say(link, Message::Reject(Reject { echo, reason: RejectReason::Leaving }));
    world.run_for(SECOND);
    assert!(!world.stands(link));
    assert_eq!(world.node("a").counters().faults, 1);
}
