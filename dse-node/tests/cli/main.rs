//! The program as a user meets it: real processes, real sockets.
//!
//! Each test has folders of its own, names no port, and waits for what the program says.

mod configuration;
mod confirming;
mod discovery;
mod errors;
mod fates;
mod garbage;
mod host;
mod life;
mod namespaces;
mod plan;
mod publishing;
mod shapes;
mod sources;
mod support;
mod watchers;
