//! The tokio driver and the embedding API.
