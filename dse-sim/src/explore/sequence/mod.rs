//! One sequence of samples between a publisher and a subscriber: the real machines of
//! [`dse_core::data`], put together as the simulated nodes do it, and all that can happen to
//! them.
//!
//! Time stands still but for the stall timeout. That a credit or a `Received` waits for company
//! is a choice as any other: it goes with the next frame or alone.

mod choice;
mod laws;
mod plot;
mod plots;
mod print;
mod search;
mod state;
mod step;
mod story;

pub use plot::SequencePlot;
pub(super) use plots::plots;
