//! The control bus in virtual time: tests for each law of the design and for each
//! schedule that decided a rule of the protocol, by theme.

mod chaos;
mod clash;
mod guests;
mod index;
mod interest;
mod leave;
mod limits;
mod mesh;
mod quiet;
mod requests;
mod world;
