//! Behaviours of listening and dialling.

use std::any::Any;
use std::collections::BTreeSet;
use std::time::Duration;

use super::trial::{
    Pair, SOON, accept, control_frame, data_frame, link, listen, recv_control, recv_data,
    send_control, send_data, within,
};
use super::{Harness, skip};
use crate::protocol::Endpoint;
use crate::transport::{Link, TransportError};

/// Listening at "any" gives endpoints that differ and can be dialled. Links tell an
/// authenticated name where the transport says that they do, and only there.
pub async fn any_endpoint_is_a_real_one_of_its_own<H: Harness>(harness: &H) {
    let mut listeners = Vec::new();
    let mut endpoints = BTreeSet::new();
    for _ in 0..10 {
        let (listener, endpoint) = listen(harness).await;
        assert_eq!(endpoint.scheme(), harness.transport().capabilities().scheme);
        assert!(endpoints.insert(endpoint.clone()), "{endpoint} was given twice");
        listeners.push((listener, endpoint));
    }
    let authenticated = harness.transport().capabilities().authenticated;
    for (listener, endpoint) in &mut listeners {
        let (mut near, mut far) = link(harness, listener.as_mut(), endpoint).await;
        for end in [&near, &far] {
            assert_eq!(end.identity.is_some(), authenticated, "{:?}", end.identity);
        }
        exchange(&mut near, &mut far).await;
    }
}

/// A frame on each lane, each way.
async fn exchange(near: &mut Link, far: &mut Link) {
    one_way(near, far).await;
    one_way(far, near).await;
}

async fn one_way(from: &mut Link, to: &mut Link) {
    let passing = async {
        let control = control_frame(1, 100);
        send_control(from.control_sender.as_mut(), [control]).await?;
        recv_control(to.control_receiver.as_mut(), 1).await?;
        send_data(from.data_sender.as_mut(), data_frame(1, [100])).await?;
        recv_data(to.data_receiver.as_mut()).await?;
        Ok::<(), TransportError>(())
    };
    let passed = within(SOON, "a frame on each lane", passing).await;
    passed.unwrap_or_else(|error| panic!("the link is up: {error}"));
}

/// Where nobody listens, dialling ends with a typed error, in time.
pub async fn nobody_there_is_a_connect_error<H: Harness>(harness: &H) {
    let endpoint = harness.deserted_endpoint();
    let transport = harness.transport();
    let dialled = within(SOON, "giving up", transport.connect(&endpoint)).await;
    assert!(matches!(dialled, Err(TransportError::Connect { .. })), "it gave {dialled:?}");
}

/// Endpoints of other transports are named as invalid.
pub async fn a_foreign_scheme_is_an_invalid_endpoint<H: Harness>(harness: &H) {
    let foreign = Endpoint::new("pigeon://loft-3").expect("well written");
    let transport = harness.transport();
    let dialled = within(SOON, "refusal", transport.connect(&foreign)).await;
    assert!(matches!(dialled, Err(TransportError::InvalidEndpoint { .. })), "it gave {dialled:?}");
    let bound = within(SOON, "refusal", transport.bind(&foreign)).await;
    assert!(matches!(bound, Err(TransportError::InvalidEndpoint { .. })), "it did not refuse");
}

/// Two nodes cannot listen at one endpoint; once the first is gone, the second can.
pub async fn an_endpoint_in_use_is_a_bind_error<H: Harness>(harness: &H) {
    let (first, endpoint) = listen(harness).await;
    let transport = harness.transport();
    let second = within(SOON, "refusal", transport.bind(&endpoint)).await;
    assert!(matches!(second, Err(TransportError::Bind { .. })), "{endpoint} was given twice");
    drop(first);
    let binding = async {
        while transport.bind(&endpoint).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(SOON, "the endpoint is free again", binding).await;
}

/// Dropping a listener stops the dialling in; the links that came by it live on.
pub async fn a_dropped_listener_accepts_no_more_and_its_links_live<H: Harness>(harness: &H) {
    let Pair { mut near, mut far, listener } = Pair::link(harness).await;
    let endpoint = listener.endpoints().into_iter().next().expect("it has an endpoint");
    drop(listener);
    let transport = harness.transport();
    let dialled = within(SOON, "giving up", transport.connect(&endpoint)).await;
    assert!(
        matches!(dialled, Err(TransportError::Connect { .. } | TransportError::Refused { .. })),
        "dialling a listener that is gone gave {dialled:?}"
    );
    exchange(&mut near, &mut far).await;
}

/// Accepting may be given up at any time without losing a link.
pub async fn a_given_up_accept_loses_no_link<H: Harness>(harness: &H) {
    let (mut listener, endpoint) = listen(harness).await;
    let transport = harness.transport();
    for _ in 0..5 {
        let dial = transport.connect(&endpoint);
        let impatient = async {
            loop {
                let accepting = accept(listener.as_mut());
                if let Ok(link) = tokio::time::timeout(Duration::from_millis(1), accepting).await {
                    return link;
                }
            }
        };
        let both = async { tokio::join!(dial, impatient) };
        let (near, mut far) = within(SOON, "connect and accept", both).await;
        exchange(&mut near.expect("connect"), &mut far).await;
    }
}

/// Dialling may be given up at any time; who dials next is served.
pub async fn a_given_up_connect_harms_nobody<H: Harness>(harness: &H) {
    let (mut listener, endpoint) = listen(harness).await;
    let transport = harness.transport();
    for micros in [1, 100, 300, 1000, 3000] {
        let dial = transport.connect(&endpoint);
        let _ = tokio::time::timeout(Duration::from_micros(micros), dial).await;
    }
    let serve = async {
        // Links of those who gave up may come first; they end.
        loop {
            let mut far = accept(listener.as_mut()).await;
            if recv_control(far.control_receiver.as_mut(), 1).await.is_ok() {
                return far;
            }
        }
    };
    let speak = async {
        let mut near = transport.connect(&endpoint).await.expect("connect");
        let frame = control_frame(1, 100);
        send_control(near.control_sender.as_mut(), [frame]).await.expect("the link is up");
        near
    };
    let both = async { tokio::join!(serve, speak) };
    let (mut far, mut near) = within(SOON, "who did not give up is served", both).await;
    exchange(&mut near, &mut far).await;
}

/// 32 nodes dial one at the same time: all get a link of their own.
pub async fn many_dial_at_once<H: Harness>(harness: &H) {
    const NODES: u64 = 32;
    let (mut listener, endpoint) = listen(harness).await;
    let mut diallers = tokio::task::JoinSet::new();
    for number in 0..NODES {
        let transport = harness.transport();
        let endpoint = endpoint.clone();
        diallers.spawn(async move {
            let mut near = transport.connect(&endpoint).await.expect("connect");
            let frame = control_frame(number, 8);
            send_control(near.control_sender.as_mut(), [frame.clone()]).await.expect("up");
            let echo = recv_control(near.control_receiver.as_mut(), 1).await.expect("up");
            assert_eq!(echo, [frame], "the link was mixed up with another");
        });
    }
    let serve = async {
        let mut links = Vec::new();
        for _ in 0..NODES {
            let mut far = accept(listener.as_mut()).await;
            let frames = recv_control(far.control_receiver.as_mut(), 1).await.expect("up");
            send_control(far.control_sender.as_mut(), frames).await.expect("up");
            links.push(far);
        }
        while let Some(dialled) = diallers.join_next().await {
            dialled.expect("a dialler failed");
        }
    };
    within(3 * SOON, "32 links at once", serve).await;
}

/// After a link fell, either side can have the next, at once, again and again.
pub async fn links_come_again<H: Harness>(harness: &H) {
    let (mut listener, endpoint) = listen(harness).await;
    for round in 0..20 {
        let (mut near, mut far) = link(harness, listener.as_mut(), &endpoint).await;
        exchange(&mut near, &mut far).await;
        // Each side is the first to go in turn.
        if round % 2 == 0 {
            drop(near);
        } else {
            drop(far);
        }
    }
}

/// Whatever strangers send to where a node listens, it goes on serving.
pub async fn strangers_do_not_stop_a_listener<H: Harness>(harness: &H) {
    let noise: Vec<u8> =
        (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec();
    let half_zmtp = [&[0xff_u8; 1][..], &[0; 8], &[0x7f, 3]].concat();
    let half_tls = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3].to_vec();
    let half_quic = [&[0xc3, 0, 0, 0, 1, 8][..], &[0xab; 1194]].concat();
    let (mut listener, endpoint) = listen(harness).await;
    let mut strangers: Vec<Box<dyn Any + Send>> = Vec::new();
    for bytes in [noise, http, half_zmtp, half_tls, half_quic, Vec::new()] {
        let intruding = harness.intrude(&endpoint, &bytes);
        match within(SOON, "a stranger speaks", intruding).await {
            Some(connection) => strangers.push(connection),
            None => {
                let why = format!("no stranger reaches {endpoint}");
                return skip("strangers_do_not_stop_a_listener", &why);
            }
        }
        let (mut near, mut far) = link(harness, listener.as_mut(), &endpoint).await;
        exchange(&mut near, &mut far).await;
    }
}
