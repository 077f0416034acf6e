//! What the bus costs as it grows: the real core in virtual time, beside models of the
//! periodic broadcast that it replaces and of SWIM-style gossip.

pub mod args;
pub mod bus;
pub mod gossip;
pub mod outcome;
pub mod periodic;
mod plot;
pub mod shape;
pub mod table;
