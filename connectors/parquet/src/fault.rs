//! What a store's error means for the caller.

use catchment_core::{Domain, Error, Retry};
use object_store::Error as Fault;

const BUCKET: &str = "; create the bucket, or check it and the prefix in `url`, and `endpoint` and `region` under `s3`";
const RIGHTS: &str = "; grant the key read, write and list on the prefix";
const KEYS: &str = "; check `access_key_id` and `secret_access_key` under `s3`";
const CLOCK: &str = "; set the clock of this machine, the store refuses requests that are minutes off";
const ENDPOINT: &str = "; check `endpoint` under `s3`, the network, and whether the store runs";

/// What the words of an answer say, which is more than its status: many faults share 403 and 404.
const TOLD: [(&str, &str); 7] = [
    ("NoSuchBucket", BUCKET),
    ("InvalidAccessKeyId", KEYS),
    ("SignatureDoesNotMatch", KEYS),
    ("InvalidToken", KEYS),
    ("ExpiredToken", KEYS),
    ("RequestTimeTooSkewed", CLOCK),
    ("AccessDenied", RIGHTS),
];

/// No answer came: the fault may pass, and yet the address may be wrong.
const UNREACHED: [&str; 3] = ["error sending request", "dns error", "tcp connect error"];

/// Wraps an error met while doing `what`.
pub(crate) fn wrap(what: &str, fault: &Fault) -> Error {
    // A store's error prints its own causes: kept as one text, or each would be read twice.
    let text = fault.to_string();
    let (domain, retry, mend) = match users_to_mend(fault, &text) {
        Some(mend) => (Domain::User, Retry::Never, mend),
        None if UNREACHED.iter().any(|words| text.contains(words)) => (Domain::External, Retry::Backoff, ENDPOINT),
        None => (Domain::External, Retry::Backoff, ""),
    };
    Error::new(domain, retry, format!("parquet: cannot {what}{mend}")).caused_by(text)
}

fn users_to_mend(fault: &Fault, text: &str) -> Option<&'static str> {
    let told = TOLD.iter().find(|(word, _)| text.contains(word)).map(|(_, mend)| *mend);
    told.or(match fault {
        Fault::NotFound { .. } => Some(BUCKET),
        Fault::PermissionDenied { .. } => Some(RIGHTS),
        Fault::Unauthenticated { .. } => Some(KEYS),
        Fault::NotImplemented { .. } | Fault::NotSupported { .. } => Some("; the store must know conditional puts"),
        Fault::InvalidPath { .. } | Fault::UnknownConfigurationKey { .. } => Some(""),
        _ => None,
    })
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

    #[test]
    fn what_the_store_says_of_a_refusal_is_the_advice() {
        for (word, mend) in [
            ("InvalidAccessKeyId", "access_key_id"),
            ("SignatureDoesNotMatch", "secret_access_key"),
            ("AccessDenied", "grant the key"),
            ("RequestTimeTooSkewed", "clock"),
            ("NoSuchBucket", "create the bucket"),
        ] {
            let refused =
                Fault::PermissionDenied { path: "x".into(), source: format!("403: <Code>{word}</Code>").into() };
            let error = wrap("write x", &refused);
            assert_eq!((error.domain, error.retry), (Domain::User, Retry::Never));
            assert!(error.message.contains(mend), "{}", error.message);
        }
    }
}
