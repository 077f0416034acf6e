//! Runs the target `send`: see `dse_fuzz::send`.
#![cfg_attr(fuzzing, no_main)]

dse_fuzz::program!(dse_fuzz::send);
