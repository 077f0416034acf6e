//! The quic transport of DSE.
