//! The fuzz targets of DSE: what a hostile byte must not do.
//!
//! Each target is one function from bytes to nothing that panics where a promise is
//! broken. Bytes come from four sides:
//!
//! - `cargo xtask fuzz` lets `cargo fuzz` (libFuzzer, nightly Rust) find ever new ones that
//!   reach code which none reached before;
//! - where that is not installed, it runs the target's own program, which changes the
//!   corpus at random ([`Mutator`]) and does not see what it reaches;
//! - the test `replay` gives each target the kept corpus, and the same thousands of
//!   changes of it each time, on stable Rust;
//! - `cargo run -p dse-fuzz --bin <target> FILE..` replays single files, a fresh crash for
//!   example, and tells what happens.
//!
//! | target | what it gives to whom | what must hold |
//! |---|---|---|
//! | [`bus()`] | hostile peers to a `ControlBus` | the laws L1, L3, L6 and the driver's contract |
//! | [`decode()`] | bytes to the codecs of both lanes | what can be read is written and read again as the same, in bounded memory |
//! | [`door()`] | a stranger's bytes to a zmq node | the same, and a stranger is told little |
//! | [`keys()`] | key expressions | a plain reference says the same |
//! | [`plane()`] | a peer's records to a data plane | law L8 for subscribers and for the peer, and nothing is left running |
//! | [`receive()`] | a peer's records to the receiving machines | law L8, nothing is confirmed that did not come |
//! | [`schedule()`] | what befalls a simulated bus of 2 to 4 nodes | all that `cargo xtask sim` asks for |
//! | [`send()`] | what peers say to the sending machine | law L8 for peers, credit, the bound of the log, nobody is waited for without end |
//! | [`texts()`] | any text to the parsers of ids, endpoints, flags and configuration | what is taken is given back, and a refusal says why |
#![forbid(unsafe_code)]

mod bus;
mod decode;
mod door;
mod keys;
mod mutate;
mod plane;
mod program;
mod receive;
mod schedule;
mod send;
mod source;
mod texts;

pub use bus::bus;
pub use decode::decode;
pub use door::door;
pub use keys::keys;
pub use mutate::Mutator;
pub use plane::plane;
pub use program::{inputs, run};
pub use receive::receive;
pub use schedule::schedule;
pub use send::send;
pub use texts::texts;

use program::tell;

/// One target by its name, which is also its program's and its corpus folder's.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("bus", bus),
    ("decode", decode),
    ("door", door),
    ("keys", keys),
    ("plane", plane),
    ("receive", receive),
    ("schedule", schedule),
    ("send", send),
    ("texts", texts),
];

#[cfg(fuzzing)]
#[doc(hidden)]
pub use libfuzzer_sys;
