//! The exhaustive check: all that can happen in a small world, each state once.

pub mod args;
mod asked;
mod canon;
mod choice;
mod clock;
mod graph;
mod heard;
mod link;
mod node;
mod plot;
mod scribe;
mod search;
mod settled;
mod state;
mod step;
mod story;
mod turn;
mod worlds;

pub use plot::{Faults, Plot};
pub use search::{Outcome, search};
pub use state::Broken;
pub use worlds::worlds;
