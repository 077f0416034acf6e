//! The data plane between nodes that have nothing else, over lanes in memory.

mod chaos;
mod delivery;
mod departures;
mod faults;
mod lane;
mod receipts;
mod reconnect;
mod runtime;
mod slow;
mod world;
