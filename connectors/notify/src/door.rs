//! One receiver over HTTP, and what its answers mean to the pipeline.

use std::time::Duration;

use catchment_core::{Error, Result};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};

use crate::config::Headers;

/// How much of an answer is read and told where a request was refused.
const TOLD: usize = 300;

/// Posts JSON to one receiver.
#[derive(Clone)]
pub(crate) struct Door {
    client: Client,
    /// How errors name the receiver. Its path may be a secret and is left out.
    name: String,
}

impl Door {
    /// Nothing is connected yet.
    pub(crate) fn new(sink: &str, url: &Url, headers: &Headers, timeout: Duration) -> Result<Self> {
        let client = Client::builder()
            .user_agent(concat!("catchment/", env!("CARGO_PKG_VERSION")))
            .default_headers(header_map(sink, headers)?)
            .timeout(timeout)
            .redirect(Policy::none())
            .build()
            .map_err(|e| Error::internal(format!("{sink}: cannot make an HTTP client")).caused_by(e))?;
        Ok(Self { client, name: format!("{sink} {}", url.origin().ascii_serialization()) })
    }

    pub(crate) async fn post(&self, url: &Url, body: Vec<u8>) -> Result<()> {
        let request = self.client.post(url.clone()).header(CONTENT_TYPE, "application/json").body(body);
        let answer = request.send().await.map_err(|e| self.unreachable(e))?;
        self.accepted(answer).await.map(drop)
    }

    /// The answer to a `GET`, as JSON.
    pub(crate) async fn get(&self, url: &Url) -> Result<serde_json::Value> {
        let answer = self.client.get(url.clone()).send().await.map_err(|e| self.unreachable(e))?;
        let text = self.accepted(answer).await?.text().await.map_err(|e| self.unreachable(e))?;
        serde_json::from_str(&text)
            .map_err(|e| Error::user(format!("{}: the answer is no JSON; check `url`", self.name)).caused_by(e))
    }

    /// Whether somebody answers at all: a receiver need not know `HEAD`.
    pub(crate) async fn knock(&self, url: &Url) -> Result<StatusCode> {
        let answer = self.client.head(url.clone()).send().await.map_err(|e| self.unreachable(e))?;
        Ok(answer.status())
    }

    async fn accepted(&self, answer: Response) -> Result<Response> {
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let moved = answer.headers().get(LOCATION).and_then(|to| to.to_str().ok()).map(ToOwned::to_owned);
        Err(refusal(&self.name, status, moved.as_deref(), &beginning(answer).await))
    }

    fn unreachable(&self, error: reqwest::Error) -> Error {
        Error::external(format!("{}: no answer; check `url` and the network", self.name)).caused_by(error.without_url())
    }
}

fn header_map(sink: &str, headers: &Headers) -> Result<HeaderMap> {
    let pair = |(name, value): (&String, &String)| {
        let known = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
        let (key, mut value) =
            known.ok_or_else(|| Error::user(format!("{sink} headers: `{name}` is no header; use plain ASCII")))?;
        value.set_sensitive(true);
        Ok((key, value))
    };
    headers.0.iter().map(pair).collect()
}

/// The first bytes of an answer, on one line.
async fn beginning(mut answer: Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < TOLD {
        match answer.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            _ => break,
        }
    }
    bytes.truncate(TOLD);
    String::from_utf8_lossy(&bytes).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What passes by itself is tried again; what a person has to mend is not.
fn refusal(name: &str, status: StatusCode, moved: Option<&str>, said: &str) -> Error {
    let told = if said.is_empty() { String::new() } else { format!(": {said}") };
    let passes = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
    if passes {
        return Error::external(format!("{name}: answers {status}{told}"));
    }
    let mend = match status.as_u16() {
        300..=399 => {
            format!("write the address it points to into `url`, {}", moved.unwrap_or("which it does not tell"))
        }
        401 | 403 | 407 => "check the credentials in `headers`".to_owned(),
        404 | 405 | 410 => "check `url`".to_owned(),
        413 => "lower `max_body`".to_owned(),
        _ => "the receiver does not understand what it is sent; check `url` and `format`".to_owned(),
    };
    Error::user(format!("{name}: refuses with {status}, {mend}{told}"))
}

#[cfg(test)]
mod tests {
    use catchment_core::{Domain, Retry};

    use super::*;

    fn refused(status: u16) -> Error {
        let status = StatusCode::from_u16(status).expect("a status");
        refusal("webhook https://host", status, Some("https://host/other"), "no")
    }

    #[test]
    fn a_receiver_that_is_busy_or_broken_is_tried_again() {
        for status in [408, 425, 429, 500, 502, 503, 504] {
            let error = refused(status);
            assert_eq!((error.domain, error.retry), (Domain::External, Retry::Backoff), "{status}");
            assert!(error.message.contains(&status.to_string()) && error.message.ends_with(": no"), "{error}");
        }
    }

    #[test]
    fn a_refusal_is_for_a_person_and_names_the_mend() {
        let mends = [
            (301, "https://host/other"),
            (400, "check `url` and `format`"),
            (401, "`headers`"),
            (403, "`headers`"),
            (404, "check `url`"),
            (413, "lower `max_body`"),
        ];
        for (status, mend) in mends {
            let error = refused(status);
            assert_eq!((error.domain, error.retry), (Domain::User, Retry::Never), "{status}");
            assert!(error.message.contains(mend), "{error}");
        }
    }

    #[test]
    fn a_header_that_cannot_be_sent_is_named_without_its_value() {
        let headers = Headers([("X-Key".to_owned(), "hunter2\n".to_owned())].into());
        let error = header_map("webhook", &headers).expect_err("a line break");
        assert!(error.message.contains("`X-Key`") && !error.message.contains("hunter2"), "{error}");
    }
}
