//! The sinks' sections of the configuration.

use std::collections::BTreeMap;
use std::fmt;

use catchment_core::{ByteSize, Error, Period, Result, Severity};
use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which findings become alerts, and where they go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AlertmanagerConfig {
    /// Address of the Alertmanager, `http://host:9093`, with the prefix of its paths if it has one.
    pub url: String,
    /// Findings below this are not sent. Muted ones never are.
    pub min_severity: Level,
    /// How often alerts that are open are sent again; less than half of the Alertmanager's `resolve_timeout`.
    pub resend: Period,
    /// Further headers of every request, such as `Authorization`; write secrets as `${NAME}` of an environment variable.
    pub headers: Headers,
    /// How long one request may take.
    pub timeout: Period,
    /// Bytes of a request at most, unless one alert alone is larger.
    pub max_body: ByteSize,
}

impl Default for AlertmanagerConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            min_severity: Level::Medium,
            resend: Period::secs(60),
            headers: Headers::default(),
            timeout: Period::secs(10),
            max_body: ByteSize(1 << 20),
        }
    }
}

/// Where findings are posted, and as what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookConfig {
    /// Address that takes `POST` requests: `https://host/path`.
    pub url: String,
    /// What a request holds.
    pub format: Format,
    /// Further headers of every request, such as `Authorization`; write secrets as `${NAME}` of an environment variable.
    pub headers: Headers,
    /// How long one request may take.
    pub timeout: Period,
    /// Bytes of a request at most, unless one finding alone is larger.
    pub max_body: ByteSize,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            format: Format::Json,
            headers: Headers::default(),
            timeout: Period::secs(10),
            max_body: ByteSize(1 << 20),
        }
    }
}

/// How bad a finding must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// All findings.
    Info,
    /// Low and worse.
    Low,
    /// Medium and worse.
    Medium,
    /// High alone.
    High,
}

impl From<Level> for Severity {
    fn from(level: Level) -> Self {
        match level {
            Level::Info => Self::Info,
            Level::Low => Self::Low,
            Level::Medium => Self::Medium,
            Level::High => Self::High,
        }
    }
}

/// What a webhook receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// An object with the cluster, the source and the rows.
    Json,
    /// A list of events of the Open Cybersecurity Schema Framework.
    Ocsf,
}

/// Headers by name. Values may be secrets and are never printed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Headers(pub BTreeMap<String, String>);

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl AlertmanagerConfig {
    /// The address that takes alerts, and the one that tells how the server is.
    pub(crate) fn addresses(&self) -> Result<(Url, Url)> {
        positive("alertmanager", "resend", self.resend)?;
        positive("alertmanager", "timeout", self.timeout)?;
        let base = address("alertmanager", &self.url)?;
        let below = |path: &str| {
            let mut url = base.clone();
            url.set_path(&format!("{}/api/v2/{path}", base.path().trim_end_matches('/')));
            url
        };
        Ok((below("alerts"), below("status")))
    }
}

impl WebhookConfig {
    pub(crate) fn address(&self) -> Result<Url> {
        positive("webhook", "timeout", self.timeout)?;
        address("webhook", &self.url)
    }
}

fn positive(sink: &str, key: &str, period: Period) -> Result<()> {
    if period.micros() > 0 {
        return Ok(());
    }
    Err(Error::user(format!("{sink}: `{key}` must be longer than zero; write it like 10s")))
}

/// The text of an address may hold a secret and is not repeated.
fn address(sink: &str, text: &str) -> Result<Url> {
    let refused = |why: &str| Err(Error::user(format!("{sink}: `url` {why}")));
    let Ok(url) = Url::parse(text) else {
        return refused("is no address; write it like https://host:port/path");
    };
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return refused("must begin with http:// or https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refused("must hold no user or password; put them into `headers` as Authorization");
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> String {
        WebhookConfig { url: url.to_owned(), ..WebhookConfig::default() }.address().expect_err("refused").message
    }

    #[test]
    fn an_address_that_cannot_work_is_refused_with_the_mend() {
        assert!(refusal("").contains("write it like https://host:port/path"));
        assert!(refusal("ftp://host/x").contains("must begin with http"));
        let message = refusal("https://me:hunter2@host/x");
        assert!(message.contains("Authorization") && !message.contains("hunter2"), "{message}");
    }

    #[test]
    fn alerts_go_below_the_prefix_of_the_server() {
        for url in ["http://host:9093/am/", "http://host:9093/am"] {
            let config = AlertmanagerConfig { url: url.to_owned(), ..AlertmanagerConfig::default() };
            let (alerts, status) = config.addresses().expect("usable");
            assert_eq!(alerts.as_str(), "http://host:9093/am/api/v2/alerts");
            assert_eq!(status.as_str(), "http://host:9093/am/api/v2/status");
        }
    }

    #[test]
    fn a_period_of_nothing_is_refused_by_name() {
        let url = "http://host".to_owned();
        let config = AlertmanagerConfig { url, resend: Period::secs(0), ..AlertmanagerConfig::default() };
        assert!(config.addresses().expect_err("refused").message.contains("`resend`"));
    }

    #[test]
    fn values_of_headers_are_not_printed() {
        let headers = Headers([("Authorization".to_owned(), "Bearer hunter2".to_owned())].into());
        assert_eq!(format!("{headers:?}"), r#"{"Authorization"}"#);
    }
}
