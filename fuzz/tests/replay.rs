//! The kept corpus on stable Rust: what once was hard for a target stays easy.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use dse_fuzz::{Mutator, TARGETS};

/// A corpus is kept small: it is run with every test.
const MOST_FILES: usize = 100;
/// Changes of it for each target.
const CHANGES: usize = 2000;
/// A schedule plays a whole bus, and takes as long as many inputs of the others.
const CHANGED_SCHEDULES: usize = 40;

#[test]
fn every_target_survives_its_corpus() {
    for (name, target) in TARGETS {
        let files = corpus(name);
        assert!(!files.is_empty(), "the corpus of {name} is empty");
        assert!(files.len() <= MOST_FILES, "{} files in the corpus of {name}", files.len());
        for (file, bytes) in files {
            let survived = catch_unwind(AssertUnwindSafe(|| target(&bytes)));
            if let Err(panic) = survived {
                eprintln!("replay it: cargo run -p dse-fuzz --bin {name} {}", file.display());
                resume_unwind(panic);
            }
        }
    }
}

#[test]
fn every_target_survives_changes_of_its_corpus() {
    for (name, target) in TARGETS {
        let inputs = corpus(name).into_iter().map(|(_, bytes)| bytes).collect();
        let mut mutator = Mutator::new(inputs, 1);
        for _ in 0..if *name == "schedule" { CHANGED_SCHEDULES } else { CHANGES } {
            let input = mutator.input();
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(&input))) {
                eprintln!("{name} does not survive {:?}", input.escape_ascii().to_string());
                resume_unwind(panic);
            }
        }
    }
}

#[test]
fn every_target_survives_nothing_and_noise() {
    for (_, target) in TARGETS {
        target(&[]);
        for byte in 0..=u8::MAX {
            target(&[byte; 40]);
        }
    }
}

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    dse_fuzz::inputs(&folder).expect("a readable corpus")
}
