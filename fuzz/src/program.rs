//! The targets as programs on stable Rust: replay, and trial without a fuzzer.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::mutate::Mutator;

static TELLS: AtomicBool = AtomicBool::new(false);

/// Tells what happens, where somebody replays a file.
pub(crate) fn tell(what: impl FnOnce() -> String) {
    if TELLS.load(Ordering::Relaxed) {
        println!("{}", what().chars().take(MOST_TOLD).collect::<String>());
    }
}

/// A target's program: under `cargo fuzz` the fuzzer, else [`run`].
#[macro_export]
macro_rules! program {
    ($target:path) => {
        #[cfg(fuzzing)]
        $crate::libfuzzer_sys::fuzz_target!(|data: &[u8]| $target(data));

        #[cfg(not(fuzzing))]
        fn main() -> std::process::ExitCode {
            $crate::run($target)
        }
    };
}

/// Does what the program's arguments say. `FILE..` gives these files to the target, one
/// after the other, and tells what happens. `--seconds N FOLDER` changes the inputs of the
/// folder at random for so long; what breaks the target is written to the current folder.
pub fn run(target: fn(&[u8])) -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--seconds", seconds, folder] => match seconds.parse() {
            Ok(seconds) => try_for(target, Duration::from_secs(seconds), Path::new(folder)),
            Err(_) => Err(io::Error::other("--seconds takes a number")),
        },
        files => replay(target, files),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn replay(target: fn(&[u8]), files: &[&str]) -> io::Result<bool> {
    TELLS.store(true, Ordering::Relaxed);
    for file in files {
        println!("{file}");
        target(&fs::read(file)?);
    }
    Ok(true)
}

fn try_for(target: fn(&[u8]), time: Duration, folder: &Path) -> io::Result<bool> {
    let inputs = inputs(folder)?.into_iter().map(|(_, bytes)| bytes).collect();
    let seed = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64);
    let mut mutator = Mutator::new(inputs, seed);
    let started = Instant::now();
    let mut executions = 0_u64;
    while started.elapsed() < time {
        for _ in 0..BETWEEN_LOOKS {
            let input = mutator.input();
            executions += 1;
            if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
                let file = format!("broken-{seed}-{executions}");
                fs::write(&file, &input)?;
                println!("{executions} executions; the last broke the target: {file}");
                return Ok(false);
            }
        }
    }
    println!("{executions} executions in {} s, nothing found", started.elapsed().as_secs());
    Ok(true)
}

/// All files of a folder, in order of their names.
///
/// # Errors
/// The folder or a file cannot be read.
pub fn inputs(folder: &Path) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    files.sort();
    files.into_iter().map(|file| fs::read(&file).map(|bytes| (file, bytes))).collect()
}

/// Payloads are long.
const MOST_TOLD: usize = 2000;
/// How many executions pass between two looks at the clock.
const BETWEEN_LOOKS: usize = 64;
