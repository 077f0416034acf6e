//! The way from a link to the driver.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::{LinkEvent, LinkEventKind, cost};
use crate::protocol::LinkId;

/// The link's sender of events.
pub(super) struct Outlet {
    link: LinkId,
    events: mpsc::Sender<LinkEvent>,
    /// Waits for room. Kept between polls, so that the link keeps its place among
    /// those that wait.
    reserving: Option<Pin<Box<dyn Future<Output = Reserved> + Send>>>,
}

type Reserved = Result<mpsc::OwnedPermit<LinkEvent>, mpsc::error::SendError<()>>;

/// The driver is gone.
pub(super) struct NoDriver;

impl Outlet {
    pub(super) fn new(link: LinkId, events: mpsc::Sender<LinkEvent>) -> Self {
        Self { link, events, reserving: None }
    }

    /// Delivers the first of the inbox, which is not empty, and tells what it counted.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        inbox: &mut VecDeque<LinkEventKind>,
    ) -> Poll<Result<usize, NoDriver>> {
        let reserved = match &mut self.reserving {
            Some(reserving) => match reserving.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(reserved) => {
                    self.reserving = None;
                    reserved.map_err(|_| NoDriver)
                }
            },
            None => match self.events.clone().try_reserve_owned() {
                Ok(permit) => Ok(permit),
                Err(TrySendError::Closed(_)) => Err(NoDriver),
                Err(TrySendError::Full(events)) => {
                    self.reserving = Some(Box::pin(events.reserve_owned()));
                    return self.poll_next(cx, inbox);
                }
            },
        };
        let Some(kind) = inbox.pop_front() else {
            return Poll::Ready(Ok(0));
        };
        Poll::Ready(reserved.map(|permit| {
            let counted = match &kind {
                LinkEventKind::Message(message) => cost(message),
                LinkEventKind::Probed | LinkEventKind::Down(_) => 0,
            };
            permit.send(LinkEvent { link: self.link, kind });
            counted
        }))
    }

    /// Delivers all, or as much as there is a driver for.
    pub(super) fn poll_all(
        &mut self,
        cx: &mut Context<'_>,
        inbox: &mut VecDeque<LinkEventKind>,
    ) -> Poll<()> {
        while !inbox.is_empty() {
            match self.poll_next(cx, inbox) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(NoDriver)) => return Poll::Ready(()),
                Poll::Ready(Ok(_)) => {}
            }
        }
        Poll::Ready(())
    }
}
