//! The model against its own claims: the protocol holds, its broken variants are caught, and the
//! schedules go where they claim to go.

mod coverage;
mod flaws;
mod protocol;
