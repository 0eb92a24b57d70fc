//! Streams from a scripted source to scripted sinks.

mod faults;
mod fit;
mod script;
