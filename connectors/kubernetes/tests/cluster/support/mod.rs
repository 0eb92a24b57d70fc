//! A cluster without nodes and controllers: the tests plant what those would.

pub(crate) mod crds;
pub(crate) mod front;
pub(crate) mod link;
pub(crate) mod planter;
pub(crate) mod server;
pub(crate) mod shop;
pub(crate) mod watched;
