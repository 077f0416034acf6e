//! What `run` publishes: constants, the state of the machine, the lines of a file.
//!
//! A source works only while somebody is interested in what it publishes, unless it
//! is told to work always.

mod file;
mod system;
mod tail;
mod value;

use std::time::Duration;

use anyhow::Result;
use dse_core::node::{InterestWatch, Node, Publisher, PublisherBuilder};
use tokio::task::JoinSet;

use crate::traffic::ClassName;

pub use file::{FileConfig, From};
pub use system::SystemConfig;
pub use value::{Constant, ValueConfig};

/// A source as flags or a configuration file tell it.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceConfig {
    /// A constant.
    Value(ValueConfig),
    /// The state of this machine.
    System(SystemConfig),
    /// The lines of a growing file.
    File(FileConfig),
}

impl SourceConfig {
    /// Declares what the source publishes and starts it as a task of `tasks`.
    ///
    /// # Errors
    /// A key cannot be declared.
    pub async fn start(self, node: &Node, tasks: &mut JoinSet<()>) -> Result<()> {
        match self {
            Self::Value(config) => value::start(config, node, tasks).await,
            Self::System(config) => system::start(config, node, tasks).await,
            Self::File(config) => file::start(config, node, tasks).await,
        }
    }
}

/// Does the work while somebody is interested: begins it with the first interest, drops
/// it with the last. Ends when the node has stopped or the work ends by itself. While it
/// rests nothing is kept of what was: whoever comes then gets the first that is new.
async fn while_wanted<W: Future<Output = ()>>(publisher: &Publisher, mut work: impl FnMut() -> W) {
    let key = publisher.key();
    let mut interest = publisher.interest();
    while until(&mut interest, true).await {
        tracing::info!("{key}: somebody is interested, the source works");
        tokio::select! {
            () = work() => return,
            still = until(&mut interest, false) => if !still { return },
        }
        publisher.forget();
        tracing::info!("{key}: nobody is interested, the source rests");
    }
}

/// Waits until somebody is interested, or nobody any more. False once the publisher is
/// closed.
async fn until(interest: &mut InterestWatch, wanted: bool) -> bool {
    while interest.wanted() != wanted {
        if interest.changed().await.is_none() {
            return false;
        }
    }
    true
}

/// With the class that is said, if one is.
fn in_class(builder: PublisherBuilder, class: Option<ClassName>) -> PublisherBuilder {
    match class {
        Some(class) => builder.class(class.into()),
        None => builder,
    }
}

/// A timer that does not hurry to catch up after a pause.
fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    interval
}
