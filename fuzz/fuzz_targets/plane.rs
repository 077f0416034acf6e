//! Runs the target `plane`: see `dse_fuzz::plane`.
#![cfg_attr(fuzzing, no_main)]

dse_fuzz::program!(dse_fuzz::plane);
