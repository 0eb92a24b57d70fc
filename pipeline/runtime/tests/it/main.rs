//! Streams from a scripted source to scripted sinks.

mod faults;
mod findings;
mod fit;
mod script;
