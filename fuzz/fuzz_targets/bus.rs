//! Runs the target `bus`: see `dse_fuzz::bus`.
#![cfg_attr(fuzzing, no_main)]

dse_fuzz::program!(dse_fuzz::bus);
