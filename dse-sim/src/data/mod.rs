//! The data machines of whole nodes in virtual time: [`bus::Bus`] joins nodes by links with
//! bandwidth, a bounded queue and delay, and holds after each step what was sent and taken
//! against a model (laws L6, L8, L9 and L10).
//!
//! What the control bus says of interest is scripted here; the machines of [`dse_core::data`]
//! are the real ones, put together as the runtime does it.

pub mod bus;
mod counts;
pub(crate) mod model;
pub(crate) mod node;
pub mod play;
pub(crate) mod words;

pub use counts::Counts;
