//! Links: addresses, restarts, limits, and peers that misbehave.

mod common;

use std::net::UdpSocket;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use common::{
    SOON, TestAuthority, Wanted, Way, data_frame, endpoint, exchange, link, listen, node,
    recv_control, send_control, send_data, socket_address, within,
};
use dse_core::transport::{DATA_FRAME_BYTES, Transport, TransportError};

#[tokio::test(flavor = "multi_thread")]
async fn a_link_tells_each_end_the_name_of_the_other() {
    let ca = TestAuthority::new();
    let (a, b) = (ca.node("dse:a"), ca.node("dse:b.sub-4f"));
    let (mut listener, at) = listen(&a, "quic://127.0.0.1:0").await;
    let (mut near, mut far) = link(&b, listener.as_mut(), &at).await;
    assert_eq!(near.identity.as_deref(), Some("a"));
    assert_eq!(far.identity.as_deref(), Some("b.sub-4f"));
    assert_eq!(near.remote, at.to_string());
    assert!(far.remote.starts_with("quic://127.0.0.1:"), "{}", far.remote);
    exchange(&mut near, &mut far).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_address_can_be_listened_at_and_dialled() {
    let ca = TestAuthority::new();
    let (a, b) = (ca.node("dse:a"), ca.node("dse:b"));
    for at in ["quic://127.0.0.1:0", "quic://[::1]:0", "quic://localhost:0", "quic://0.0.0.0:0"] {
        let (mut listener, found) = listen(&a, at).await;
        assert_ne!(socket_address(&found).port(), 0, "{found}");
        let (mut near, mut far) = link(&b, listener.as_mut(), &found).await;
        exchange(&mut near, &mut far).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dual_stack_wildcard_is_reached_over_both_families() {
    let ca = TestAuthority::new();
    let (a, b) = (ca.node("dse:a"), ca.node("dse:b"));
    let (mut listener, at) = listen(&a, "quic://[::]:0").await;
    let port = socket_address(&at).port();
    let listed = listener.endpoints();
    let by_hand = ["127.0.0.1", "[::1]", "localhost"].map(|host| format!("quic://{host}:{port}"));
    for at in listed.into_iter().chain(by_hand.iter().map(|text| endpoint(text))) {
        assert!(!socket_or_name_is_wildcard(at.address()), "{at}");
        let (mut near, mut far) = link(&b, listener.as_mut(), &at).await;
        assert!(!far.remote.contains("ffff"), "an IPv4 peer is shown as such: {}", far.remote);
        exchange(&mut near, &mut far).await;
    }
}

fn socket_or_name_is_wildcard(address: &str) -> bool {
    address.starts_with("0.0.0.0") || address.starts_with("[::]")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_at_which_nobody_listens_is_told_by_the_network() {
    let ca = TestAuthority::new();
    let a = ca.node("dse:a");
    for ip in ["127.0.0.1", "[::1]"] {
        let free = UdpSocket::bind(format!("{ip}:0")).expect("bound").local_addr();
        let at = format!("quic://{}", free.expect("bound"));
        let error = within(SOON, "an error", a.connect(&endpoint(&at))).await;
        let error = error.expect_err("nobody listens").to_string();
        assert!(error.contains("nobody listens at UDP port"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_be_dialled_is_told_beforehand() {
    let ca = TestAuthority::new();
    let a = ca.node("dse:a");
    for (at, says) in [
        ("quic://127.0.0.1:0", "port 0 is only for listening"),
        ("quic://0.0.0.0:7447", "a wildcard address is only for listening"),
        ("quic://[::]:7447", "a wildcard address is only for listening"),
        ("quic://127.0.0.1", "the port is missing"),
    ] {
        let error = a.check_dial(&endpoint(at)).expect_err(at).to_string();
        assert!(error.contains(says), "{error}");
    }
    a.check_dial(&endpoint("quic://host.example:1")).expect("a name may have an address");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_dialled_at_each_of_its_addresses() {
    // `localhost` usually has an IPv6 address that comes first; only IPv4 listens.
    let ca = TestAuthority::new();
    let (a, b) = (ca.node("dse:a"), ca.node("dse:b"));
    let (mut listener, at) = listen(&a, "quic://127.0.0.1:0").await;
    let named = endpoint(&format!("quic://localhost:{}", socket_address(&at).port()));
    let (mut near, mut far) = link(&b, listener.as_mut(), &named).await;
    exchange(&mut near, &mut far).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_without_address_and_port_0_are_errors() {
    let node = TestAuthority::new().node("dse:a");
    let unknown = endpoint("quic://no-such-host.invalid:7447");
    let error = within(SOON, "giving up", node.connect(&unknown)).await.expect_err("no link");
    assert!(matches!(error, TransportError::Connect { .. }), "{error}");
    assert!(error.to_string().contains("no-such-host.invalid"), "{error}");
    let error = node.connect(&endpoint("quic://127.0.0.1:0")).await.expect_err("no link");
    assert!(matches!(error, TransportError::InvalidEndpoint { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_and_a_foreign_address_are_explained() {
    let ca = TestAuthority::new();
    let (a, b) = (ca.node("dse:a"), ca.node("dse:b"));
    let (_listener, at) = listen(&a, "quic://127.0.0.1:0").await;
    let error = b.bind(&at).await.err().expect("the port is in use").to_string();
    assert!(error.contains("in use") && error.contains(at.as_str()), "{error}");
    let foreign = endpoint("quic://192.0.2.1:0");
    let error = b.bind(&foreign).await.err().expect("a foreign address").to_string();
    assert!(error.contains("no address of this machine"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_listens_dials_from_there_and_can_dial_itself() {
    let ca = TestAuthority::new();
    let (a, b) = (ca.node("dse:a"), ca.node("dse:b"));
    let (mut listener, at) = listen(&a, "quic://127.0.0.1:0").await;
    let (mut b_listener, b_at) = listen(&b, "quic://0.0.0.0:0").await;
    let b_port = socket_address(&b_at).port();
    let (_near, far) = link(&b, listener.as_mut(), &at).await;
    assert!(far.remote.ends_with(&format!(":{b_port}")), "{} is not port {b_port}", far.remote);
    let (mut near, mut far) = link(&a, listener.as_mut(), &at).await;
    assert_eq!(far.identity.as_deref(), Some("a"));
    exchange(&mut near, &mut far).await;
    // Both at once, over the same two ports.
    let there = async { tokio::join!(a.connect(&b_at), b_listener.accept()) };
    let back = async { tokio::join!(b.connect(&at), listener.accept()) };
    let (there, back) = within(SOON, "crossed dials", async { tokio::join!(there, back) }).await;
    for (near, far) in [there, back] {
        exchange(&mut near.expect("connect"), &mut far.expect("accept")).await;
    }
}

/// A process that is killed says nothing. When it is back on its port, its peers'
/// first packet is answered by a reset.
#[test]
fn a_restarted_node_resets_the_links_of_its_former_self() {
    let runtime = || tokio::runtime::Runtime::new().expect("a runtime");
    let ca = TestAuthority::new();
    let identity = ca.identity(Wanted::node("dse:a"));
    let (former, survivor) = (runtime(), runtime());
    let b = ca.node("dse:b");
    let (mut listener, at) = former.block_on(listen(&node(identity.clone()), "quic://127.0.0.1:0"));
    let accepting = former.spawn(async move { (listener.accept().await, listener) });
    let mut near = survivor.block_on(within(SOON, "connect", b.connect(&at))).expect("connect");
    let kept = former.block_on(accepting).expect("accepts");
    // Its tasks stop where they are, before they could say goodbye.
    former.shutdown_timeout(SOON);
    drop(kept);
    survivor.block_on(async {
        let again = node(identity);
        let rebind = async {
            loop {
                match again.bind(&at).await {
                    Ok(listener) => return listener,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        let _listener = within(SOON, "the port is free", rebind).await;
        let ping = [Bytes::from_static(b"are you there?")];
        let asking = async {
            // Any packet brings the reset, so it may be there already.
            send_control(near.control_sender.as_mut(), ping).await?;
            recv_control(near.control_receiver.as_mut()).await
        };
        let error = within(SOON, "reset", asking).await;
        let error = error.expect_err("the link is gone");
        assert!(matches!(error, TransportError::Lost(_)), "{error:?}");
        assert!(error.to_string().contains("restarted"), "{error}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_holds_the_sender_up_and_not_control() {
    const FRAME: usize = 64 * 1024;
    let ca = TestAuthority::new();
    let (a, b) = (ca.node("dse:a"), ca.node("dse:b"));
    let (mut listener, at) = listen(&a, "quic://127.0.0.1:0").await;
    let (mut near, mut far) = link(&b, listener.as_mut(), &at).await;
    let payload = Bytes::from(vec![7; FRAME]);
    let mut taken = 0;
    while tokio::time::timeout(
        Duration::from_millis(500),
        send_data(near.data_sender.as_mut(), data_frame(payload.clone())),
    )
    .await
    .is_ok()
    {
        taken += FRAME;
        assert!(taken < 4 * 1024 * 1024, "the link took {taken} bytes that nobody reads");
    }
    exchange(&mut near, &mut far).await;
}

/// A process that is stopped (SIGSTOP) neither reads nor acknowledges. Here it is a
/// runtime that nobody drives.
#[test]
fn a_stopped_peer_bounds_what_is_sent_and_gets_it_when_it_wakes() {
    const FRAME: usize = 64 * 1024;
    let ca = TestAuthority::new();
    let (a, b) = (ca.node("dse:a"), ca.node("dse:b"));
    let stoppable =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let running = tokio::runtime::Runtime::new().expect("a runtime");
    let (mut listener, at) = stoppable.block_on(listen(&a, "quic://127.0.0.1:0"));
    let dialling = running.spawn(async move { b.connect(&at).await });
    let mut far = stoppable.block_on(within(SOON, "accept", listener.accept())).expect("accept");
    let mut near = running.block_on(dialling).expect("no panic").expect("connect");
    let taken = running.block_on(async {
        let payload = Bytes::from(vec![7; FRAME]);
        let mut taken = 0;
        loop {
            let sending = send_data(near.data_sender.as_mut(), data_frame(payload.clone()));
            match tokio::time::timeout(Duration::from_millis(500), sending).await {
                Ok(sent) => sent.expect("the link is up"),
                Err(_) => return taken,
            }
            taken += 1;
            assert!(taken * FRAME < 4 * 1024 * 1024, "it took {taken} frames for a stopped peer");
        }
    });
    stoppable.block_on(within(SOON, "all that was taken", async {
        for _ in 0..taken {
            let frame = std::future::poll_fn(|cx| far.data_receiver.poll_recv(cx)).await;
            assert_eq!(frame.expect("the link is up").body.len(), FRAME);
        }
    }));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_link_is_repeated_until_it_arrives() {
    let ca = TestAuthority::new();
    let (a, b) = (ca.node("dse:a"), ca.node("dse:b"));
    let (mut listener, at) = listen(&a, "quic://127.0.0.1:0").await;
    let way = Way::to(socket_address(&at)).await;
    let (mut near, mut far) = link(&b, listener.as_mut(), &way.endpoint).await;
    exchange(&mut near, &mut far).await;
    // The search for the path's packet size ends, and nothing else is said.
    let quiet = Duration::from_millis(200);
    while tokio::time::timeout(quiet, way.used.notified()).await.is_ok() {}
    way.cut.store(true, Ordering::Relaxed);
    drop(near);
    for _ in 0..3 {
        within(SOON, "another try", way.used.notified()).await;
    }
    way.cut.store(false, Ordering::Relaxed);
    let error = within(SOON, "the end", recv_control(far.control_receiver.as_mut())).await;
    assert!(matches!(error, Err(TransportError::Closed(_))), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_dropped_in_full_flow_is_known_to_be_gone() {
    let ca = TestAuthority::new();
    let (a, b) = (ca.node("dse:a"), ca.node("dse:b"));
    let (mut listener, at) = listen(&a, "quic://127.0.0.1:0").await;
    for _ in 0..10 {
        let (mut near, mut far) = link(&b, listener.as_mut(), &at).await;
        let flowing = tokio::spawn(async move {
            let payload = Bytes::from(vec![7; 64 * 1024]);
            for _ in 0..200 {
                let frame = data_frame(payload.clone());
                send_data(near.data_sender.as_mut(), frame).await.expect("the link is up");
            }
            drop(near);
        });
        let mut receiver = far.data_receiver;
        let reading = tokio::spawn(async move {
            while std::future::poll_fn(|cx| receiver.poll_recv(cx)).await.is_ok() {}
        });
        within(SOON, "the flow", flowing).await.expect("no panic");
        let error = within(SOON, "the end", recv_control(far.control_receiver.as_mut())).await;
        assert!(matches!(error, Err(TransportError::Closed(_))), "{error:?}");
        within(SOON, "the end of the data", reading).await.expect("no panic");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_garbage_do_not_stop_a_listener() {
    let ca = TestAuthority::new();
    let (a, b) = (ca.node("dse:a"), ca.node("dse:b"));
    let (mut listener, at) = listen(&a, "quic://127.0.0.1:0").await;
    let stranger = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let noise: Vec<u8> =
        (0..1400_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let initial = [&[0xc3, 0, 0, 0, 1, 8][..], &[0xab; 1194]].concat();
    for bytes in [&noise[..], &noise[..20], &initial, b"GET / HTTP/1.1\r\n\r\n", b""] {
        for _ in 0..100 {
            stranger.send_to(bytes, socket_address(&at)).expect("send");
        }
    }
    // A peer with a good certificate that never opens its lanes: it waits for itself.
    let silent = ca.stranger(Some(ca.issue(Wanted::node("dse:silent"))), b"dse/1");
    let connecting = silent.connect(socket_address(&at), "dse").expect("dial");
    let (mut near, mut far) = link(&b, listener.as_mut(), &at).await;
    exchange(&mut near, &mut far).await;
    let connection = within(SOON, "TLS", connecting).await.expect("TLS is done");
    let refused = within(SOON, "the handshake's timeout", listener.accept()).await;
    let refused = refused.expect_err("no link").to_string();
    assert!(refused.contains("no link stood"), "{refused}");
    within(SOON, "the connection ends", connection.closed()).await;
    exchange(&mut near, &mut far).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_of_a_handshake_that_is_over_are_no_refusal() {
    let ca = TestAuthority::new();
    let (a, b) = (ca.node("dse:a"), ca.node("dse:b"));
    let (mut listener, at) = listen(&a, "quic://127.0.0.1:0").await;
    let late = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for connection in 0..64 {
        // A first packet with the keys of another connection ID; a 4th of them, by chance,
        // looks well formed before it is decrypted.
        let header = [&[0xc3, 0, 0, 0, 1, 8][..], &[connection; 8], &[0, 0, 0x44, 0xc0]].concat();
        let packet = [header, vec![0xab; 0x4c0]].concat();
        late.send_to(&packet, socket_address(&at)).expect("send");
    }
    // The first that the listener tells of is the link.
    let (mut near, mut far) = link(&b, listener.as_mut(), &at).await;
    exchange(&mut near, &mut far).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_claims_to_be_huge_is_malformed() {
    let ca = TestAuthority::new();
    let a = ca.node("dse:a");
    let (mut listener, at) = listen(&a, "quic://127.0.0.1:0").await;
    let stranger = ca.stranger(Some(ca.issue(Wanted::node("dse:b"))), b"dse/1");
    let speaking = async {
        let connection = stranger.connect(socket_address(&at), "dse").expect("dial").await?;
        let (mut control, control_back) = connection.open_bi().await?;
        let (mut data, data_back) = connection.open_bi().await?;
        let gibibyte = (1_u32 << 30).to_le_bytes();
        control.write_all(&[b"C", &gibibyte[..], &[0; 100]].concat()).await.expect("write");
        data.write_all(&[b"D", &gibibyte[..]].concat()).await.expect("write");
        Ok::<_, quinn::ConnectionError>((connection, control, control_back, data, data_back))
    };
    let both = async { tokio::join!(speaking, listener.accept()) };
    let (kept, far) = within(SOON, "a link", both).await;
    let (_kept, mut far) = (kept.expect("the stranger speaks"), far.expect("accept"));
    let control = within(SOON, "control", recv_control(far.control_receiver.as_mut())).await;
    assert!(matches!(control, Err(TransportError::Malformed(_))), "{control:?}");
    let receiving = std::future::poll_fn(|cx| far.data_receiver.poll_recv(cx));
    let error = within(SOON, "data", receiving).await.expect_err("no frame").to_string();
    assert!(error.contains(&DATA_FRAME_BYTES.to_string()), "{error}");
}

/// From 32 unfinished handshakes on, who comes has to prove its address first.
#[tokio::test(flavor = "multi_thread")]
async fn a_listener_under_load_goes_on_serving() {
    const SILENT: usize = 40;
    let ca = TestAuthority::new();
    let (a, b) = (ca.node("dse:a"), ca.node("dse:b"));
    let (mut listener, at) = listen(&a, "quic://127.0.0.1:0").await;
    let stranger = ca.stranger(Some(ca.issue(Wanted::node("dse:silent"))), b"dse/1");
    let gathering = async {
        let mut connections = Vec::new();
        for _ in 0..SILENT {
            let connecting = stranger.connect(socket_address(&at), "dse").expect("dial");
            connections.push(connecting.await.expect("TLS is done"));
        }
        connections
    };
    let _silent = tokio::select! {
        silent = within(SOON, "40 that say nothing", gathering) => silent,
        result = listener.accept() => panic!("nobody opened a link: {result:?}"),
    };
    let (mut near, mut far) = link(&b, listener.as_mut(), &at).await;
    exchange(&mut near, &mut far).await;
}

/// Only Linux has all of 127.0.0.0/8 at once.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn who_takes_all_places_and_does_not_go_on_keeps_nobody_else_out() {
    const PLACES: usize = 64;
    let ca = TestAuthority::new();
    let (a, b) = (ca.node("dse:a"), ca.node("dse:b"));
    let (mut listener, at) = listen(&a, "quic://127.0.0.1:0").await;
    let certified = Some(ca.issue(Wanted::node("dse:silent")));
    let stranger = ca.stranger_at([127, 0, 0, 2], certified, b"dse/1");
    let address = socket_address(&at);
    let (full, is_full) = tokio::sync::oneshot::channel();
    // Has all places, and takes each again that it loses.
    let greedy = tokio::spawn(async move {
        let mut silent: Vec<quinn::Connection> = Vec::new();
        let mut full = Some(full);
        loop {
            silent.retain(|connection| connection.close_reason().is_none());
            let mut lacking = tokio::task::JoinSet::new();
            for _ in silent.len()..PLACES {
                let connecting = stranger.connect(address, "dse").expect("dial");
                // With the places taken nobody hears it for a while.
                lacking.spawn(tokio::time::timeout(Duration::from_millis(500), connecting));
            }
            if lacking.is_empty() {
                full.take().map(|full| full.send(()));
                silent[0].closed().await;
            }
            for dialled in lacking.join_all().await {
                silent.extend(dialled.ok().and_then(Result::ok));
            }
        }
    });
    let mut links = async || {
        loop {
            // Those that say nothing are told as refused after a while.
            if let Ok(link) = listener.accept().await {
                return link;
            }
        }
    };
    tokio::select! {
        full = within(SOON, "all places are taken", is_full) => full.expect("it goes on"),
        _ = links() => panic!("nobody opened a link"),
    }
    for _ in 0..4 {
        let both = async { tokio::join!(b.connect(&at), links()) };
        let (near, mut far) = within(SOON, "connect and accept", both).await;
        exchange(&mut near.expect("connect"), &mut far).await;
    }
    greedy.abort();
}
