//! The mem transport of DSE.
