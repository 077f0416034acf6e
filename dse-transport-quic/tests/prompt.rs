//! What a lone sample does not wait for.

mod common;

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use common::{SOON, TestAuthority, data_frame, listen, within};
use dse_core::transport::{Link, Transport};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// Long for loopback, and a loaded machine has several tries.
const SHORTLY: Duration = Duration::from_secs(1);
const TRIES: usize = 20;

#[test]
fn a_little_frame_leaves_with_the_call_that_sends_it() {
    let near = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let far = Runtime::new().expect("a runtime");
    let (mut sending, mut receiving) = link_between(&near, &far);
    let arrives = (1..=TRIES).any(|len| {
        // The sender's tasks run now and no more: if one has something to do afterwards, it
        // is left to that, and this was no try.
        near.block_on(rest());
        let mut frame = Some(data_frame(Bytes::from(vec![7; len])));
        let cx = &mut Context::from_waker(Waker::noop());
        let sent = sending.data_sender.poll_send(cx, &mut frame);
        assert!(matches!(sent, Poll::Ready(Ok(()))), "{sent:?}");
        let arriving = async {
            loop {
                let received = poll_fn(|cx| receiving.data_receiver.poll_recv(cx)).await;
                if received.expect("the link is up").body.len() == len {
                    break;
                }
            }
        };
        far.block_on(async { timeout(SHORTLY, arriving).await }).is_ok()
    });
    assert!(arrives, "it waits for a task");
}

/// A link between two runtimes.
fn link_between(near: &Runtime, far: &Runtime) -> (Link, Link) {
    let ca = TestAuthority::new();
    let (a, b) = (ca.node("dse:a"), ca.node("dse:b"));
    let (mut listener, at) = far.block_on(listen(&a, "quic://127.0.0.1:0"));
    let accepting = far.spawn(async move { listener.accept().await });
    let dialled = near.block_on(within(SOON, "connect", b.connect(&at)));
    let accepted = far.block_on(within(SOON, "accept", accepting)).expect("no panic");
    (dialled.expect("connect"), accepted.expect("accept"))
}

/// Lets all tasks run that have something to do.
async fn rest() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}
