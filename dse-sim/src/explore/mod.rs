//! The exhaustive check: all that can happen in a bounded model, each state once.
//!
//! There are two kinds of models: small buses, in which control buses run, and one sequence of
//! samples between two nodes, which send and receive it. One search serves both.

pub mod args;
mod asked;
mod bounded;
mod broken;
mod canon;
mod choice;
mod clock;
mod graph;
mod heard;
mod link;
mod models;
mod node;
mod plot;
mod scribe;
mod search;
mod sequence;
mod settled;
mod state;
mod step;
mod story;
mod turn;
mod worlds;

pub use broken::Broken;
pub use models::Model;
pub use plot::{Faults, Plot};
pub use search::Outcome;
pub use sequence::SequencePlot;
