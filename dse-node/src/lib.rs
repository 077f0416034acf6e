//! The parts of the program `dse-node`.
//!
//! This library is the program's own: embed `dse-core` with the transports that you
//! need instead.
//!
//! | modules | hold |
//! |---|---|
//! | `cli`, `options`, `config`, `settings` | what the user says, from words to checked settings |
//! | `program`, `commands`, `outcome`, `advice` | what is done about it, and how it ends |
//! | `session` | a command's node, found by others (`local_nodes`) and left in order |
//! | `transports`, `listening`, `incarnation`, `folders` | what a node is started with |
//! | `sources`, `sinks`, `samples`, `remarks` | what `run` publishes, and where samples go |
//! | `traffic`, `duration` | classes, headers, rates and times as people write them |
//! | `context`, `console`, `input` | what surrounds a command |
#![forbid(unsafe_code)]

pub mod advice;
pub mod cli;
pub mod commands;
pub mod config;
pub mod console;
pub mod context;
pub mod duration;
pub mod folders;
pub mod incarnation;
pub mod input;
pub mod key_template;
pub mod listening;
pub mod local_nodes;
pub mod options;
pub mod outcome;
pub mod program;
pub mod remarks;
pub mod samples;
pub mod session;
pub mod settings;
pub mod sinks;
pub mod sources;
pub mod table;
pub mod traffic;
pub mod transports;
pub mod troubles;

/// The README's example: compiled and run with the documentation's tests.
#[cfg(all(doctest, feature = "mem"))]
#[doc = include_str!("../../README.md")]
pub struct Readme;
