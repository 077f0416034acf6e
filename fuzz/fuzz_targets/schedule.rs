//! Runs the target `schedule`: see `dse_fuzz::schedule`.
#![cfg_attr(fuzzing, no_main)]

dse_fuzz::program!(dse_fuzz::schedule);
