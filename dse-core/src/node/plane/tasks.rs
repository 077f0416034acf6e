//! The two tasks of a link. A panic in one ends its link and nothing else.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::{mpsc, watch};

use super::fault::{LaneError, LinkFault};
use super::limits::CLOSE_TIMEOUT;
use super::link::{Closing, Link};
use super::reader::Reader;

/// The writing task of a link.
pub(super) async fn write(link: Arc<Link>, faults: mpsc::Sender<LinkFault>) {
    let mut closing: watch::Receiver<Closing> = link.closing();
    let failed = tokio::select! {
        error = catch_panic(link.write()) => Some(error.unwrap_or_else(LaneError::Panicked)),
        _ = closing.wait_for(|closing| *closing != Closing::Open) => None,
    };
    // What the peer sent before is still of use.
    link.stop_writing();
    report(&link, failed, faults).await;
}

/// The reading task of a link.
pub(super) async fn read(link: Arc<Link>, mut reader: Reader, faults: mpsc::Sender<LinkFault>) {
    let read = catch_panic(reader.run()).await;
    let failed = read.unwrap_or_else(|panic| Err(LaneError::Panicked(panic))).err();
    link.stop_writing();
    report(&link, failed, faults).await;
    // Whether the peer has left in order is said on the other lane.
    let mut closing = link.closing();
    let closed = closing.wait_for(|closing| *closing != Closing::Open);
    let left = match tokio::time::timeout(CLOSE_TIMEOUT, closed).await {
        Ok(Ok(closing)) => *closing == Closing::Left,
        _ => false,
    };
    link.forget(left);
    reader.gone(left);
}

async fn report(link: &Link, failed: Option<LaneError>, faults: mpsc::Sender<LinkFault>) {
    if let Some(error) = failed
        && link.fails_first()
    {
        // Without a driver there is nobody to tell.
        let _ = faults.send(LinkFault { link: link.id, error }).await;
    }
}

/// Ends a future that panics, with the panic's message.
async fn catch_panic<T>(future: impl Future<Output = T>) -> Result<T, String> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        let poll = std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        match poll {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(message(panic.as_ref()))),
        }
    })
    .await
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}
