//! What can go wrong between a request and its answer, by what is to be done.

use std::sync::Arc;

use kube::core::Status;

/// Why listing or watching stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The server has forgotten the version to go on from: list again.
    Gone,
    /// The server refuses: the permission may be given later.
    Denied(Arc<str>),
    /// The server has no such resource (any more).
    NotServed,
    /// The server does not understand the request.
    NotUnderstood(Arc<str>),
    /// The server cannot be reached, or answers with an error.
    Failed(Arc<str>),
    /// Nobody wants the news any more.
    Closed,
}

impl Fault {
    /// From a status of the API, as the answer of a request or as an event of a watch.
    pub(crate) fn of_status(status: &Status) -> Self {
        let why = || format!("{} ({})", status.message, status.code).into();
        match status.code {
            410 => Self::Gone,
            401 | 403 => Self::Denied(why()),
            404 => Self::NotServed,
            400 | 422 => Self::NotUnderstood(why()),
            _ => Self::Failed(why()),
        }
    }
}

impl From<kube::Error> for Fault {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_status(&status),
            error => Self::Failed(chain(&error).into()),
        }
    }
}

/// The error and its causes on one line; causes that only repeat what stands before are left out.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(code: u16) -> Fault {
        Fault::of_status(&Status { code, message: "m".into(), ..Status::default() })
    }

    #[test]
    fn a_status_says_what_is_to_be_done() {
        assert_eq!(fault(410), Fault::Gone);
        assert_eq!(fault(403), Fault::Denied("m (403)".into()));
        assert_eq!(fault(404), Fault::NotServed);
        assert_eq!(fault(422), Fault::NotUnderstood("m (422)".into()));
        assert_eq!(fault(503), Fault::Failed("m (503)".into()));
    }
}
