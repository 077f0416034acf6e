//! The control bus in virtual time: tests for each law of the design and for each
//! schedule that decided a rule of the protocol, by theme. Random schedules are in
//! `tests/simulation.rs`.
//!
//! | law | where |
//! |---|---|
//! | L1 quiet | `quiet`, and each scenario that runs until the bus is quiet |
//! | L2 convergence | `mesh`, `dial`, `endpoints`, `../simulation.rs` |
//! | L3 ownership | `index`, `clash`, and the world's own check after every step |
//! | L4 answers | `requests`, `backlog`, `guests` |
//! | L5 cost | `mesh` for joins and cold starts, `index` for changes, `watchers` for deaths, `quiet` for doing nothing |
//! | L6 bounds | `limits` |
//! | L7 determinism | `../simulation.rs` |
//!
//! L8 and L9 are the data plane's.

mod backlog;
mod clash;
mod dial;
mod endpoints;
mod growth;
mod guests;
mod index;
mod interest;
mod leave;
mod limits;
mod mesh;
mod quiet;
mod requests;
mod watchers;
