//! The tokio driver and the embedding API.

mod link;
mod probe;
