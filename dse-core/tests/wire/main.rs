//! The wire codec: golden bytes, what may be added, and what is refused without harm.

mod golden;
mod growth;
mod refused;
