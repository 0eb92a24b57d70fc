//! JSON lines in and out: flows from files and standard input, rows to files and standard output.
//!
//! [`FileSource`] only frames: it finds where one flow object ends and the next begins, takes
//! wrappers off, and writes one object a line to the log. What an object means is decided later,
//! so a broken line travels on as it is and becomes a reject with its line number.
//! [`JsonSink`] writes the rows of an epoch as one JSON object a line.
//!
//! Neither ever holds a whole file in memory.

mod event_time;
mod framer;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod inputs;
mod output;
mod sink;
mod source;

pub use sink::{DatasetName, JsonSink, SinkConfig, is_closed_output};
pub use source::{FileSource, SourceConfig};
