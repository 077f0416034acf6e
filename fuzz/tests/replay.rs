//! The kept corpus on stable Rust: what once was hard for a target stays easy.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use dse_fuzz::TARGETS;

/// A corpus is kept small (`cargo fuzz cmin`): it is run with every test.
const MOST_FILES: usize = 100;

#[test]
fn every_target_survives_its_corpus() {
    for (name, target) in TARGETS {
        let files = corpus(name);
        assert!(!files.is_empty(), "the corpus of {name} is empty");
        assert!(files.len() <= MOST_FILES, "{} files in the corpus of {name}", files.len());
        for file in files {
            let bytes = fs::read(&file).expect("a readable file");
            let survived = catch_unwind(AssertUnwindSafe(|| target(&bytes)));
            if let Err(panic) = survived {
                eprintln!("replay it: cargo run -p dse-fuzz --bin {name} {}", file.display());
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

fn corpus(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let files = fs::read_dir(&folder).into_iter().flatten();
    let mut files: Vec<PathBuf> =
        files.map(|entry| entry.expect("a readable folder").path()).collect();
    files.sort();
    files
}
