//! What a store's error means for the caller.

use catchment_core::{Domain, Error, Retry};
use object_store::Error as Fault;

const BUCKET: &str = "; check bucket, endpoint and path in `url`";
const RIGHTS: &str = "; grant read, write and list on the prefix";
const KEYS: &str = "; check `access_key_id` and its secret";

/// Listings tell these apart only by the words of the answer.
const TOLD: [(&str, &str); 4] =
    [("NoSuchBucket", BUCKET), ("AccessDenied", RIGHTS), ("InvalidAccessKeyId", KEYS), ("SignatureDoesNotMatch", KEYS)];

/// Wraps an error met while doing `what`.
pub(crate) fn wrap(what: &str, fault: &Fault) -> Error {
    // A store's error prints its own causes: kept as one text, or each would be read twice.
    let text = fault.to_string();
    let (domain, retry, mend) = match users_to_mend(fault, &text) {
        Some(mend) => (Domain::User, Retry::Never, mend),
        None => (Domain::External, Retry::Backoff, ""),
    };
    Error::new(domain, retry, format!("parquet: cannot {what}{mend}")).caused_by(text)
}

fn users_to_mend(fault: &Fault, text: &str) -> Option<&'static str> {
    match fault {
        Fault::NotFound { .. } => Some(BUCKET),
        Fault::PermissionDenied { .. } => Some(RIGHTS),
        Fault::Unauthenticated { .. } => Some(KEYS),
        Fault::NotImplemented { .. } | Fault::NotSupported { .. } => Some("; the store must know conditional puts"),
        Fault::InvalidPath { .. } | Fault::UnknownConfigurationKey { .. } => Some(""),
        _ => TOLD.iter().find(|(word, _)| text.contains(word)).map(|(_, mend)| *mend),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_bucket_is_the_users_and_a_broken_line_passes() {
        let missing = Fault::NotFound { path: "x".into(), source: "no such bucket".into() };
        assert_eq!(wrap("list", &missing).domain, Domain::User);
        let broken = wrap("list", &Fault::Generic { store: "S3", source: "connection reset".into() });
        assert_eq!((broken.domain, broken.retry), (Domain::External, Retry::Backoff));
    }
}
