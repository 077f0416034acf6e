//! A deterministic simulator of a whole bus.
//!
//! A [`World`](world::World) holds nodes, each of which runs the real
//! [`ControlBus`](dse_core::protocol::ControlBus), and a network that carries what the
//! real codec wrote. Time is virtual, all chance comes from one seed, so two worlds that
//! are told the same do the same, byte for byte.
//!
//! ```
//! use dse_sim::world::World;
//!
//! let mut world = World::new(1);
//! world.start_serving(&["a", "b", "c"]); // joins, declares, and waits until all is quiet
//! world.crash("c", dse_sim::world::Notice::Detected);
//! world.run_until("the others know", |world| world.node("a").downs("c") == 1);
//! ```
#![forbid(unsafe_code)]

pub mod args;
mod caught;
pub mod data;
pub mod explore;
pub mod play;
pub mod scale;
pub mod schedule;
pub mod setup;
pub mod shrink;
pub mod trial;
pub mod world;
