//! The conformance suite: what every transport does alike (feature `conformance`).
//!
//! A transport runs it from one file of its own tests: it implements [`Harness`] and
//! expands [`conformance_tests!`](crate::conformance_tests), which makes a tokio test
//! of each behaviour.
//!
//! ```ignore
//! struct MemHarness(MemScope);
//! impl Harness for MemHarness { /* ... */ }
//! dse_core::conformance_tests!(MemHarness);
//! ```
//!
//! Every wait has a deadline, and every deadline is long beside what is waited for, so
//! that a loaded machine fails no test: how soon something happens is shown in virtual
//! time, by the tests of links and probes, or measured by `cargo xtask demo`. Where a test
//! states that something does *not* happen, the time is the contract's.

mod churn;
mod growth;
mod lanes;
mod later;
mod links;
mod trial;
mod watching;

use std::any::Any;
use std::io::Write as _;
use std::sync::Arc;

use async_trait::async_trait;

use crate::protocol::Endpoint;
use crate::transport::{Link, Transport};

pub use churn::*;
pub use growth::*;
pub use lanes::*;
pub use links::*;
pub use watching::*;

/// What the suite needs to know of a transport.
#[async_trait]
pub trait Harness: Send + Sync + Sized + 'static {
    /// What the nodes of one test share: a scope, a CA, a folder. Tests run side by
    /// side, so two harnesses must not meet.
    async fn start() -> Self;

    /// The transport of one more node. All nodes of a harness may link.
    fn transport(&self) -> Arc<dyn Transport>;

    /// Where a node listens that takes whatever is free, such as port 0.
    fn any_endpoint(&self) -> Endpoint;

    /// Where nobody listens.
    fn deserted_endpoint(&self) -> Endpoint;

    /// A link between two nodes over a way that can be cut; none where there is no way
    /// that could be.
    async fn silenceable(&self) -> Option<Silenceable>;

    /// Sends bytes that are none of the transport's to where a node listens, as a
    /// stranger would. What is returned keeps the connection open. None where no
    /// stranger can reach the listener.
    async fn intrude(&self, at: &Endpoint, bytes: &[u8]) -> Option<Box<dyn Any + Send>>;
}

/// Says that a test shows nothing here, and why: it returns after this and counts as
/// passed for the test runner. Past its capture, so that it is seen; `cargo xtask test`
/// counts these lines as skipped.
pub fn skip(test: &str, why: &str) {
    // Nobody is left to be told where standard error is closed.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {why}");
}

/// A link over a way that can be cut.
pub struct Silenceable {
    /// The dialler's end.
    pub near: Link,
    /// The listener's end.
    pub far: Link,
    /// Cuts the way: from now on it swallows all that either end sends, without a word.
    pub silence: Box<dyn FnOnce() + Send>,
    /// What must live as long as the link.
    pub keep: Box<dyn Any + Send>,
}

impl std::fmt::Debug for Silenceable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Silenceable").field("near", &self.near).field("far", &self.far).finish()
    }
}

/// Makes a tokio test of each behaviour of the suite, for one [`Harness`].
///
/// The crate that calls it needs tokio with `macros` and `rt-multi-thread` among its
/// dev-dependencies.
#[macro_export]
macro_rules! conformance_tests {
    ($harness:ty) => {
        $crate::conformance_tests! { @each $harness:
            control_arrives_whole_and_in_order
            data_arrives_whole_and_in_order
            lanes_side_by_side_lose_nothing
            short_frames_are_memory_of_their_own
            control_passes_a_full_data_lane
            a_stalled_reader_bounds_what_is_pushed
            a_dropped_peer_ends_all_halves
            closing_delivers_what_was_sent
            frames_that_are_too_long_are_refused
            any_endpoint_is_a_real_one_of_its_own
            nobody_there_is_a_connect_error
            a_foreign_scheme_is_an_invalid_endpoint
            an_endpoint_in_use_is_a_bind_error
            a_dropped_listener_accepts_no_more_and_its_links_live
            a_given_up_accept_loses_no_link
            a_given_up_connect_harms_nobody
            many_dial_at_once
            links_come_again
            strangers_do_not_stop_a_listener
            idle_links_stay_up_and_know_their_round_trip
            silence_is_down_when_watched_closely
            silence_is_not_yet_down_when_watched_lazily
            a_probe_is_answered_by_who_lives
            a_probe_of_the_silent_is_a_verdict
            a_busy_driver_is_not_blamed_on_the_link
            a_closed_link_delivers_and_is_down_for_the_peer
            a_stalled_peer_fills_a_bounded_queue
            a_thousand_churns_leave_nothing
            messages_of_a_later_version_are_skipped_and_counted
            samples_of_a_later_version_arrive_and_the_rest_is_counted
            subscribers_of_a_later_version_get_samples
        }
    };
    (@each $harness:ty: $($behaviour:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                let harness = <$harness as $crate::conformance::Harness>::start().await;
                $crate::conformance::$behaviour(&harness).await;
            }
        )*
    };
}
