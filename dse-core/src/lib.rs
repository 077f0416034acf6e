//! The Data Services Engine: a brokerless data bus.
//!
//! This crate holds three layers, each usable without the next:
//!
//! * [`protocol`]: the control bus as a pure state machine. No clock, no
//!   randomness, no I/O, no threads; `no_std` with `alloc`.
//! * [`data`]: the data lane and the machines that send and receive samples, as pure.
//! * `transport` and `node` (feature `runtime`, on by default): the traits that
//!   transports implement, and the tokio driver with the embedding API.
//!
//! The protocol is written down in `PROTOCOL.md`, section by section; comments
//! of the form `PROTOCOL.md §3.2` point into it.
#![cfg_attr(not(feature = "runtime"), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod data;
#[cfg(feature = "runtime")]
pub mod node;
pub mod protocol;
#[cfg(feature = "runtime")]
pub mod transport;
