//! placeholder
/// placeholder
pub fn check(_: &[u8]) {}
