//! Whole nodes over the mem transport.

mod bus;
mod data;
mod ends;
mod start;
mod support;
