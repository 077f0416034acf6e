//! Whole nodes over the mem transport.

mod bus;
mod data;
mod ends;
mod faults;
mod raw;
mod start;
mod support;
