//! The wire codec: golden bytes, and what is refused without harm.

mod golden;
mod refused;
