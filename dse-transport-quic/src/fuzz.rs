//! Any endpoint to what reads it, for the workspace's fuzz targets (feature `fuzz`). No
//! other byte of a stranger is read here: `quinn` and `rustls` come first.

use dse_core::protocol::Endpoint;

use crate::address::{Address, text};

/// An endpoint, as this transport reads it; panics where a promise is broken.
pub fn endpoint(endpoint: &Endpoint) {
    match Address::parse(endpoint) {
        Ok(Address::Socket(address)) => {
            let written = Endpoint::new(text(address)).expect("an address is an endpoint");
            let read = Address::parse(&written).expect("what is written can be read");
            assert_eq!(read.port(), address.port());
            let Address::Socket(read) = read else { panic!("{written} is no name") };
            assert_eq!(read.ip().to_canonical(), address.ip().to_canonical());
        }
        Ok(Address::Name(host, _)) => assert!(!host.is_empty() && host.is_ascii()),
        Err(error) => assert!(error.to_string().contains(endpoint.as_str())),
    }
}
