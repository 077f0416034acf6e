//! Links between processes: what a killed and a stopped peer do to the other.
#![allow(missing_docs)]

mod support;

use std::process::Child;

use bytes::Bytes;
use dse_core::data::DataFrame;
use dse_core::transport::{Link, Listener, Received, Transport};
use support::{
    Folder, child, endpoint, recv_control, recv_data, resident_bytes, send_control, signal, soon,
    transport_in,
};

const FOLDER: &str = "DSE_ZMQ_TEST_PEER";

/// Not a test: the peer process. Dials what it is told, and reads until the link ends.
#[tokio::test]
#[ignore = "runs as the peer process of the other tests"]
async fn peer_process() {
    let Ok(told) = std::env::var(FOLDER) else { return };
    let (at, folder) = told.split_once(' ').expect("an endpoint and a folder");
    let transport = transport_in(folder.as_ref());
    let mut link = transport.connect(&endpoint(at)).await.expect("connect");
    send_control(&mut link, &[Bytes::from_static(b"here")]).await.expect("the link is up");
    while recv_data(&mut link).await.is_ok() {}
}

/// Ends the peer process with the test.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn linked(folder: &Folder, place: &str) -> (Peer, Link, Box<dyn Listener>) {
    let mut door = folder.transport().bind(&endpoint(place)).await.expect("bind");
    let told = format!("{} {}", door.endpoints()[0], folder.path().display());
    let peer = Peer(child("peer_process", (FOLDER, &told)));
    let mut link = soon("a link", door.accept()).await.expect("accept");
    assert_eq!(soon("a word", recv_control(&mut link)).await.expect("up"), ["here"]);
    (peer, link, door)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_is_known() {
    for place in ["zmq://ipc", "zmq://127.0.0.1:0"] {
        let folder = Folder::new();
        let (peer, mut link, _door) = linked(&folder, place).await;
        signal(&peer.0, "-KILL");
        soon("the end", recv_control(&mut link)).await.expect_err("it is dead");
        soon("the end of data", recv_data(&mut link)).await.expect_err("it is dead");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_process_costs_no_memory_and_is_suspected() {
    const FRAME: usize = 64 * 1024;
    for place in ["zmq://ipc", "zmq://127.0.0.1:0"] {
        let folder = Folder::new();
        let (peer, mut link, _door) = linked(&folder, place).await;
        signal(&peer.0, "-STOP");
        let before = resident_bytes();
        let payload = Bytes::from(vec![7; FRAME]);
        let mut taken = 0;
        let pushing = std::future::poll_fn(|cx| {
            let mut frames = Vec::new();
            if let std::task::Poll::Ready(Ok(Received::Hint)) =
                link.control_receiver.poll_recv(cx, &mut frames)
            {
                return std::task::Poll::Ready(());
            }
            loop {
                let body = vec![payload.clone()].into();
                let mut frame = Some(DataFrame { head: Bytes::from_static(b"head"), body });
                match link.data_sender.poll_send(cx, &mut frame) {
                    std::task::Poll::Ready(sent) => sent.expect("the link is up"),
                    std::task::Poll::Pending => return std::task::Poll::Pending,
                }
                taken += FRAME;
            }
        });
        soon("the suspicion", pushing).await;
        let grown = resident_bytes().saturating_sub(before);
        assert!(taken < OWN + system_buffers(), "{place}: {taken} bytes were taken");
        assert!(grown < OWN, "{place}: memory grew by {grown} bytes");
    }
}

/// What a link may hold itself for a peer that takes nothing, with room to spare.
const OWN: usize = 16 << 20;

/// How much of a connection the system itself may hold, which it decides as it goes: the
/// longest that its buffers get at the two ends.
fn system_buffers() -> usize {
    let longest = |name: &str| -> Option<usize> {
        let sizes = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok()?;
        sizes.split_whitespace().last()?.parse().ok()
    };
    ["tcp_rmem", "tcp_wmem"].into_iter().map(|name| longest(name).unwrap_or(8 << 20)).sum()
}
