//! A cluster without nodes and controllers: the tests plant what those would.

pub(crate) mod crds;
pub(crate) mod front;
pub(crate) mod link;
pub(crate) mod planter;
#[allow(dead_code, reason = "the tests of the binary use all of it")]
pub(crate) mod server;
pub(crate) mod shop;
pub(crate) mod watched;
