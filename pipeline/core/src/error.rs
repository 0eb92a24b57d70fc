//! One error type for everything that crosses a door: who can mend it, and whether to try again.

/// Who can mend the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// The configuration or the input.
    User,
    /// A service outside this process: broker, object store, collector.
    External,
    /// Catchment itself; please report it.
    Internal,
}

/// What the caller should do next. Retrying is written once, in the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same call may succeed later.
    Backoff,
    /// The connector must be opened again before the next call (a fatal producer, a lost session).
    Reopen,
    /// Trying again cannot help: another holder took over, or the data contradicts itself.
    Never,
}

/// An error at a door of the pipeline.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Who can mend it.
    pub domain: Domain,
    /// What to do next.
    pub retry: Retry,
    /// Place and mend, lower case, no full stop.
    pub message: String,
    /// What lies beneath.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A mistake in configuration or input; not retried.
    pub fn user(message: impl Into<String>) -> Self {
        Self::new(Domain::User, Retry::Never, message)
    }

    /// A fault of an outside service that may pass.
    pub fn external(message: impl Into<String>) -> Self {
        Self::new(Domain::External, Retry::Backoff, message)
    }

    /// A broken invariant of ours; not retried.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Domain::Internal, Retry::Never, message)
    }

    /// Any combination.
    pub fn new(domain: Domain, retry: Retry, message: impl Into<String>) -> Self {
        Self { domain, retry, message: message.into(), source: None }
    }

    /// With another retry hint.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// With the error beneath.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The message followed by every cause, on one line: what a person reads in a log. What one
    /// level has said already, the next does not say again.
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut last_start = text.len();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            let said = cause.to_string();
            if !text.ends_with(&said) {
                // A level that begins like the one above tells its causes itself.
                let last = text[last_start..].strip_prefix(": ").unwrap_or_default();
                if !last.is_empty() && said.starts_with(last) {
                    text.truncate(last_start);
                }
                last_start = text.len();
                text.push_str(": ");
                text.push_str(&said);
            }
            next = cause.source();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error that prints its causes or does not.
    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Level(&'static str, #[source] Option<Box<Self>>);

    fn chain(levels: &[&'static str]) -> String {
        let beneath = levels.iter().rev().fold(None, |beneath, said| Some(Box::new(Level(said, beneath))));
        Error::external("cannot connect").caused_by(*beneath.expect("a level")).chain()
    }

    #[test]
    fn every_cause_is_said_once() {
        assert_eq!(chain(&["transport", "tcp", "refused"]), "cannot connect: transport: tcp: refused");
        assert_eq!(chain(&["tcp: refused", "refused"]), "cannot connect: tcp: refused");
        assert_eq!(chain(&["transport", "tcp", "tcp: refused", "refused"]), "cannot connect: transport: tcp: refused");
    }
}
