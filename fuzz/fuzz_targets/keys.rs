//! Runs the target `keys`: see `dse_fuzz::keys`.
#![cfg_attr(fuzzing, no_main)]

dse_fuzz::program!(dse_fuzz::keys);
