//! The zmq transport of DSE.
