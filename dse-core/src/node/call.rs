//! The way from the application into the control task.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::limits::CALLS_QUEUED;
use super::stats::Stats;
use super::status::NodeStatus;
use super::stopped::Stopped;
use super::watch::Watching;
use crate::protocol::{
    CommandError, Declaration, Endpoint, InterestOptions, KeyExpr, Match, NodeId, Report,
    StatsError, SubscriptionId,
};

/// What carries the outcome of a call back to its caller.
pub(super) type Reply<T> = oneshot::Sender<T>;

/// The counters of another node by name, or why they did not come.
pub(super) type StatsOutcome = Result<Vec<(Box<str>, u64)>, StatsError>;

/// As many requests of this node are out as it may have at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooManyRequests;

/// What the application asks of the control task.
pub(super) enum Call {
    Declare {
        declaration: Declaration,
        reply: Reply<Result<(), CommandError>>,
    },
    Redeclare {
        declaration: Declaration,
        reply: Reply<Result<(), CommandError>>,
    },
    Subscribe {
        subscription: SubscriptionId,
        keys: KeyExpr,
        options: InterestOptions,
        reply: Reply<Result<(), CommandError>>,
    },
    Request {
        keys: KeyExpr,
        timeout: Duration,
        reply: Reply<Result<Report, TooManyRequests>>,
    },
    StatsOf {
        node: NodeId,
        timeout: Duration,
        reply: Reply<StatsOutcome>,
    },
    Lookup {
        keys: KeyExpr,
        reply: Reply<Vec<Match>>,
    },
    Watch {
        keys: KeyExpr,
        reply: Reply<Watching>,
    },
    Stats {
        reply: Reply<Stats>,
    },
    Nodes {
        reply: Reply<Vec<NodeStatus>>,
    },
    Join {
        endpoint: Endpoint,
    },
    Hint {
        endpoint: Endpoint,
    },
    DropHint {
        endpoint: Endpoint,
    },
    Reannounce,
    Leave,
}

/// Who waits for the outcome of a command.
pub(super) enum Waiting {
    Done(Reply<Result<(), CommandError>>),
    Answered(Reply<Result<Report, TooManyRequests>>),
    Stats(Reply<StatsOutcome>),
}

/// The application's end: as many as there are handles.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    calls: mpsc::Sender<Call>,
    stopped: watch::Receiver<Option<Stopped>>,
}

/// The control task's end. Dropping it fails all calls, from then on with the
/// reason that `stopped` was given.
pub(super) struct Callee {
    pub(super) calls: mpsc::Receiver<Call>,
    pub(super) stopped: watch::Sender<Option<Stopped>>,
}

/// Both ends.
pub(super) fn channel() -> (Caller, Callee) {
    let (calls, queue) = mpsc::channel(CALLS_QUEUED);
    let (reason, stopped) = watch::channel(None);
    (Caller { calls, stopped }, Callee { calls: queue, stopped: reason })
}

impl Caller {
    /// Waits for a place among the calls that wait.
    pub(super) async fn place(&self) -> Result<Place<'_>, Stopped> {
        let permit = self.calls.reserve().await.map_err(|_| self.reason())?;
        Ok(Place { caller: self, permit })
    }

    /// Hands over a call that has no reply.
    pub(super) async fn tell(&self, call: Call) -> Result<(), Stopped> {
        self.place().await?.permit.send(call);
        Ok(())
    }

    /// Hands over a call and waits for its reply. Giving up on the wait does not undo
    /// the call.
    pub(super) async fn ask<T>(&self, call: impl FnOnce(Reply<T>) -> Call) -> Result<T, Stopped> {
        self.place().await?.ask(call).await
    }

    /// Waits for the end of the control task.
    pub(super) async fn stopped(&self) -> Stopped {
        let mut stopped = self.stopped.clone();
        match stopped.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or(Stopped::Dropped),
            Err(_) => Stopped::Dropped,
        }
    }

    /// Why the control task does not answer. It says so before it ends, unless it was
    /// cut off.
    fn reason(&self) -> Stopped {
        self.stopped.borrow().clone().unwrap_or(Stopped::Dropped)
    }
}

/// A place among the calls that wait.
pub(super) struct Place<'a> {
    caller: &'a Caller,
    permit: mpsc::Permit<'a, Call>,
}

impl Place<'_> {
    /// As [`Caller::ask`]. The call is handed over before the first wait.
    pub(super) async fn ask<T>(self, call: impl FnOnce(Reply<T>) -> Call) -> Result<T, Stopped> {
        let (reply, outcome) = oneshot::channel();
        self.permit.send(call(reply));
        outcome.await.map_err(|_| self.caller.reason())
    }
}
