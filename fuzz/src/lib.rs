//! The fuzz targets of DSE: what a hostile byte must not do.
//!
//! Each target is one function from bytes to nothing that panics where a promise is
//! broken. `cargo fuzz` (or `cargo xtask fuzz`) drives them with ever new bytes; the
//! test `replay` gives them the kept corpus on stable Rust; and a program of each,
//! `cargo run -p dse-fuzz --bin <target> FILE..`, replays single files, a fresh crash
//! for example.
//!
//! | target | what it gives to whom | what must hold |
//! |---|---|---|
//! | [`bus()`] | hostile peers to a `ControlBus` | the laws L1, L3, L6 and the driver's contract |
//! | [`decode()`] | bytes to the codecs of both lanes | what can be read is written and read again as the same, in bounded memory |
//! | [`keys()`] | key expressions | a plain reference says the same |
#![forbid(unsafe_code)]

mod bus;
mod decode;
mod keys;
mod source;

use std::sync::atomic::{AtomicBool, Ordering};

pub use bus::bus;
pub use decode::decode;
pub use keys::keys;

/// One target by its name, which is also its program's and its corpus folder's.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[("bus", bus), ("decode", decode), ("keys", keys)];

static TELLS: AtomicBool = AtomicBool::new(false);

/// Tells what happens, where somebody replays a file.
fn tell(what: impl FnOnce() -> String) {
    if TELLS.load(Ordering::Relaxed) {
        println!("{}", what());
    }
}

#[cfg(fuzzing)]
#[doc(hidden)]
pub use libfuzzer_sys;

/// A target's program: under `cargo fuzz` the fuzzer, else one that replays files.
#[macro_export]
macro_rules! program {
    ($target:path) => {
        #[cfg(fuzzing)]
        $crate::libfuzzer_sys::fuzz_target!(|data: &[u8]| $target(data));

        #[cfg(not(fuzzing))]
        fn main() -> std::io::Result<()> {
            $crate::replay_files($target)
        }
    };
}

/// Gives the files that the program's arguments name to a target, one after the other,
/// and tells what happens.
///
/// # Errors
/// A file cannot be read.
pub fn replay_files(target: fn(&[u8])) -> std::io::Result<()> {
    TELLS.store(true, Ordering::Relaxed);
    for path in std::env::args_os().skip(1) {
        println!("{}", path.display());
        target(&std::fs::read(path)?);
    }
    Ok(())
}
