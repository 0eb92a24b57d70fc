//! Health that the wire shows.

pub(super) mod key_overflow;
