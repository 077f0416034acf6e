//! Runs the target `door`: see `dse_fuzz::door`.
#![cfg_attr(fuzzing, no_main)]

dse_fuzz::program!(dse_fuzz::door);
