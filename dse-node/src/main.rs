//! dse-node.
fn main() {}
