//! Runs the target `texts`: see `dse_fuzz::texts`.
#![cfg_attr(fuzzing, no_main)]

dse_fuzz::program!(dse_fuzz::texts);
