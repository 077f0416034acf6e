//! What links carry, and how they end.
#![allow(missing_docs)]

mod support;

use bytes::Bytes;
use dse_core::data::DataFrame;
use dse_core::transport::{
    CONTROL_FRAME_BYTES, DATA_FRAME_BYTES, Received, Transport, TransportError,
};
use support::{
    Folder, close, endpoint, open_files, pair, recv_control, recv_data, send_control, send_data,
    soon,
};

const PLACES: [&str; 3] = ["zmq://ipc", "zmq://127.0.0.1:0", "zmq://[::1]:0"];

fn frame(number: u64, payloads: usize, len: usize) -> DataFrame {
    let payload = Bytes::from(vec![number as u8; len]);
    let body = vec![payload; payloads].into();
    DataFrame { head: Bytes::copy_from_slice(&number.to_be_bytes()), body }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_lanes_carry_all_in_order_both_ways() {
    for place in PLACES {
        let folder = Folder::new();
        let (mut a, mut b, _door) = pair(&folder.transport(), place).await;
        for round in 0..10_u8 {
            let frames: Vec<_> = (0..150_u8).map(|n| Bytes::from(vec![round, n])).collect();
            soon("sending", send_control(&mut a, &frames)).await.unwrap();
            let mut received = Vec::new();
            while received.len() < frames.len() {
                received.extend(soon("frames", recv_control(&mut b)).await.unwrap());
            }
            assert_eq!(received, frames, "{place}");
        }
        soon("the way back", send_control(&mut b, &[Bytes::from_static(b"hi")])).await.unwrap();
        assert_eq!(recv_control(&mut a).await.unwrap(), [Bytes::from_static(b"hi")]);

        let sending = async {
            for number in 0..300 {
                let (payloads, len) = [(0, 0), (1, 100_000), (300, 40), (4, 9000)][number % 4];
                send_data(&mut a, frame(number as u64, payloads, len)).await.unwrap();
            }
        };
        let receiving = async {
            for number in 0..300_u64 {
                let got = recv_data(&mut b).await.unwrap();
                assert_eq!(got.head.as_ref(), number.to_be_bytes());
                let lens = [0, 100_000, 12_000, 36_000];
                assert_eq!(got.body.len(), lens[number as usize % 4], "{place}");
            }
        };
        soon("the data", async { tokio::join!(sending, receiving) }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_the_largest_size_pass() {
    let folder = Folder::new();
    let (mut a, mut b, _door) = pair(&folder.transport(), "zmq://127.0.0.1:0").await;
    let control = Bytes::from(vec![7; CONTROL_FRAME_BYTES]);
    soon("control", send_control(&mut a, std::slice::from_ref(&control))).await.unwrap();
    assert_eq!(soon("control", recv_control(&mut b)).await.unwrap(), [control]);
    let head = Bytes::from_static(b"head");
    let body = Bytes::from(vec![3; DATA_FRAME_BYTES - 8]).into();
    let frame = DataFrame { head, body };
    let sent = tokio::spawn(async move {
        let sent = send_data(&mut a, frame).await;
        (a, sent)
    });
    let received = soon("data", recv_data(&mut b)).await.unwrap();
    assert_eq!(received.wire_len(), DATA_FRAME_BYTES);
    sent.await.unwrap().1.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_waits_until_the_peer_has_read_everything() {
    for place in PLACES {
        let folder = Folder::new();
        let (mut a, mut b, _door) = pair(&folder.transport(), place).await;
        let last = [Bytes::from_static(b"last words")];
        soon("sending", send_control(&mut a, &last)).await.unwrap();
        let mut closing = Box::pin(close(&mut a));
        tokio::select! {
            biased;
            _ = &mut closing => panic!("closed before the peer has read ({place})"),
            read = recv_control(&mut b) => assert_eq!(read.unwrap(), last),
        }
        let (closed, end) =
            soon("the end", async { tokio::join!(closing, recv_control(&mut b)) }).await;
        closed.unwrap();
        assert!(matches!(end, Err(TransportError::Closed(_))), "{place}: {end:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_link_is_known_to_all_halves_of_the_peer() {
    for place in PLACES {
        let folder = Folder::new();
        let (a, mut b, _door) = pair(&folder.transport(), place).await;
        drop(a);
        soon("control", recv_control(&mut b)).await.expect_err("the link is closed");
        soon("data", recv_data(&mut b)).await.expect_err("the link is closed");
        let frame = [Bytes::from_static(b"x")];
        soon("control", send_control(&mut b, &frame)).await.expect_err("the link is closed");
        soon("data", send_data(&mut b, DataFrame::default())).await.expect_err("it is closed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_outlive_their_door_and_a_door_its_links() {
    let folder = Folder::new();
    let transport = folder.transport();
    let (mut a, mut b, mut door) = pair(&transport, "zmq://ipc/00000000000000aa").await;
    let at = door.endpoints()[0].clone();
    let (second, other) =
        soon("a second", async { tokio::join!(transport.connect(&at), door.accept()) }).await;
    drop((second.unwrap(), other.unwrap()));
    drop(door);
    transport.connect(&at).await.expect_err("nobody listens");
    let hi = [Bytes::from_static(b"hi")];
    soon("sending", send_control(&mut a, &hi)).await.unwrap();
    assert_eq!(soon("receiving", recv_control(&mut b)).await.unwrap(), hi);
    let again = pair(&transport, "zmq://ipc/00000000000000aa").await;
    drop(again);
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_two_links_through_one_door() {
    for place in ["zmq://ipc", "zmq://127.0.0.1:0"] {
        let folder = Folder::new();
        let transport = std::sync::Arc::new(folder.transport());
        let mut door = transport.bind(&endpoint(place)).await.unwrap();
        let at = door.endpoints()[0].clone();
        let dials: Vec<_> = (0..32)
            .map(|_| {
                let (transport, at) = (transport.clone(), at.clone());
                tokio::spawn(async move { transport.connect(&at).await })
            })
            .collect();
        let mut accepted = Vec::new();
        for _ in 0..32 {
            accepted.push(soon("a link", door.accept()).await.unwrap());
        }
        let mut dialled = Vec::new();
        for dial in dials {
            dialled.push(soon("a link", dial).await.unwrap().unwrap());
        }
        for (number, link) in (0_u8..).zip(&mut dialled) {
            send_control(link, &[Bytes::from(vec![number])]).await.unwrap();
        }
        let mut heard = Vec::new();
        for link in &mut accepted {
            heard.extend(soon("a frame", recv_control(link)).await.unwrap());
        }
        heard.sort();
        assert!((0..32_u8).zip(&heard).all(|(number, frame)| frame.as_ref() == [number]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_holds_up_its_own_link_only() {
    let folder = Folder::new();
    let transport = folder.transport();
    let mut door = transport.bind(&endpoint("zmq://ipc")).await.unwrap();
    let at = door.endpoints()[0].clone();
    let (slow, slow_end) = tokio::join!(transport.connect(&at), door.accept());
    let (fast, fast_end) = tokio::join!(transport.connect(&at), door.accept());
    let (mut slow, slow_end) = (slow.unwrap(), slow_end.unwrap());
    let (mut fast, mut fast_end) = (fast.unwrap(), fast_end.unwrap());
    // Nobody reads `slow_end`: its sender is held up, told to probe, and ended at last.
    let stuck = async {
        loop {
            let mut frame = Some(frame(0, 1, 64 * 1024));
            let data = &mut slow.data_sender;
            if let Err(error) = std::future::poll_fn(|cx| data.poll_send(cx, &mut frame)).await {
                return error;
            }
        }
    };
    let flowing = async {
        for number in 0..2000 {
            send_data(&mut fast, frame(number, 1, 64 * 1024)).await.unwrap();
        }
    };
    let reading = async {
        for _ in 0..2000 {
            recv_data(&mut fast_end).await.unwrap();
        }
    };
    let hinted = async {
        let mut frames = Vec::new();
        let control = &mut slow.control_receiver;
        std::future::poll_fn(|cx| control.poll_recv(cx, &mut frames)).await
    };
    let all = async { tokio::join!(stuck, flowing, reading, hinted) };
    let (error, _, _, hinted) = soon("all of it", all).await;
    assert_eq!(hinted.unwrap(), Received::Hint);
    assert!(error.to_string().contains("took nothing for 5 s"), "{error}");
    recv_control(&mut slow).await.expect_err("both lanes are down");
    drop(slow_end);
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_links_leave_no_file_behind() {
    let folder = Folder::new();
    let transport = folder.transport();
    for place in ["zmq://ipc", "zmq://127.0.0.1:0"] {
        let mut door = transport.bind(&endpoint(place)).await.unwrap();
        let at = door.endpoints()[0].clone();
        let before = open_files();
        for round in 0..200 {
            let (a, b) =
                soon("a link", async { tokio::join!(transport.connect(&at), door.accept()) }).await;
            let (mut a, b) = (a.unwrap(), b.unwrap());
            if round % 2 == 0 {
                drop(b);
                soon("the end", recv_control(&mut a)).await.expect_err("the peer is gone");
            }
        }
        // Given-up dials too.
        for _ in 0..50 {
            let _ =
                tokio::time::timeout(std::time::Duration::from_millis(1), transport.connect(&at))
                    .await;
        }
        let settled = async {
            while open_files() > before + 4 {
                tokio::select! {
                    _ = door.accept() => {}
                    () = tokio::time::sleep(std::time::Duration::from_millis(20)) => {}
                }
            }
        };
        soon("closing", settled).await;
    }
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "zmq.lock")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
