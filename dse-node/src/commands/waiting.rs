//! Who holds a publisher up: said once of each node.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use dse_core::node::{Publisher, Waiter};
use dse_core::protocol::{Key, NodeId};
use serde::Serialize;

use crate::console::Console;

/// Who is waited for as long as this is named.
const LONG: Duration = Duration::from_secs(1);
/// How often it is looked at, while something waits.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Says for whom a publisher waits.
#[derive(Debug)]
pub(super) struct WaitTeller<'a> {
    publisher: &'a Publisher,
    console: &'a Console,
    told: BTreeSet<NodeId>,
}

#[derive(Serialize)]
struct Event<'a> {
    event: &'static str,
    node: &'a NodeId,
    key: &'a Key,
    since_ms: u64,
    idle_ms: u64,
}

impl<'a> WaitTeller<'a> {
    pub(super) fn new(publisher: &'a Publisher, console: &'a Console) -> Self {
        Self { publisher, console, told: BTreeSet::new() }
    }

    /// Does the work, and says who holds it up. Costs nothing where nobody does.
    pub(super) async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::sleep(LOOK_EVERY) => self.tell().await,
            }
        }
    }

    async fn tell(&mut self) {
        for waiter in self.publisher.waits_for() {
            if waiter.since >= LONG && self.told.insert(waiter.node.clone()) {
                let Waiter { node, since, idle, .. } = &waiter;
                let ms = |time: &Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                let (key, since_ms, idle_ms) = (self.publisher.key(), ms(since), ms(idle));
                let event = Event { event: "waiting", node, key, since_ms, idle_ms };
                self.console.report(in_words(&waiter), &event).await;
            }
        }
    }
}

fn in_words(waiter: &Waiter) -> String {
    let Waiter { node, since, idle, .. } = waiter;
    if *idle >= LONG {
        let idle = idle.as_secs_f64();
        return format!("waiting for {node}, which has taken nothing for {idle:.1} s");
    }
    let since = since.as_secs_f64();
    format!("waiting for {node} for {since:.1} s: it takes the samples, but slowly")
}
