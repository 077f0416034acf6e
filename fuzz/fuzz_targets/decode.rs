//! Runs the target `decode`: see `dse_fuzz::decode`.
#![cfg_attr(fuzzing, no_main)]

dse_fuzz::program!(dse_fuzz::decode);
