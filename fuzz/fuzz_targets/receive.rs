//! Runs the target `receive`: see `dse_fuzz::receive`.
#![cfg_attr(fuzzing, no_main)]

dse_fuzz::program!(dse_fuzz::receive);
