//! The commands, one file each.

#[cfg(feature = "quic")]
pub mod ca;
mod control;
#[cfg(feature = "mem")]
pub mod host;
pub mod ls;
pub mod nodes;
pub mod plan;
pub mod publish;
pub mod run;
pub mod stats;
pub mod subscribe;
mod waiting;
pub mod watch;

use std::time::Duration;

use dse_core::protocol::Declaration;
use serde::{Serialize, Serializer};

/// How long the commands that ask wait for answers.
pub(crate) const ANSWER_TIMEOUT: &str = "5s";

/// A declaration's metadata as a JSON object.
#[derive(Debug)]
pub(crate) struct Meta<'a>(pub(crate) &'a Declaration);

impl Serialize for Meta<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.meta.iter().map(|(name, value)| (name, value)))
    }
}

/// Metadata for people: `unit=C place=hall`.
pub(crate) fn meta_text(declaration: &Declaration) -> String {
    let pairs: Vec<_> =
        declaration.meta.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(" ")
}

/// Ends after this long, or never.
pub(crate) async fn after(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => tokio::time::sleep(timeout).await,
        None => std::future::pending().await,
    }
}
