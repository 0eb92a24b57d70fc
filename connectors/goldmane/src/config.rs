//! What a user writes under a source of kind `goldmane`.

use std::path::PathBuf;

use catchment_core::{ByteSize, Error, Period, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of a Goldmane source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the collector listens: `https://host:port`, or `http://host:port` without TLS.
    pub address: String,
    /// Certificates; needed for `https` addresses.
    pub tls: Option<Tls>,
    /// How long after its end a bucket is read. Nodes report up to 20 s late; what comes later still is corrected.
    pub settle: Period,
    /// Where the first start begins; later starts continue from the log.
    pub begin: Begin,
    /// Read each bucket again later, to log what came late and to notice a restarted collector.
    pub reconcile: bool,
    /// Largest answer accepted for one bucket; a larger bucket is read in pages.
    pub max_message: ByteSize,
    /// How long one request may take.
    pub request_timeout: Period,
    /// Flows per page where paging is needed. Small pages are costly: the collector sorts the bucket again for each.
    pub page_size: u32,
}

/// Certificates of a TLS connection, as PEM files. They are read again when they change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Authorities that may sign the collector's certificate.
    pub ca: PathBuf,
    /// Our certificate; the collector admits any certificate of its own authority.
    #[serde(default)]
    pub cert: Option<PathBuf>,
    /// The private key of `cert`.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// The name to expect in the collector's certificate, where it differs from the address.
    #[serde(default)]
    pub server_name: Option<String>,
}

/// Where a source with an empty log begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Begin {
    /// With the oldest bucket the collector still holds.
    #[default]
    Earliest,
    /// With the bucket that is filling now.
    Latest,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: "https://goldmane.calico-system.svc:7443".into(),
            tls: None,
            settle: Period::secs(60),
            begin: Begin::default(),
            reconcile: true,
            max_message: ByteSize::mib(256),
            request_timeout: Period::secs(30),
            page_size: 10_000,
        }
    }
}

impl Config {
    /// Refuses what cannot work, before anything is connected.
    pub(crate) fn validate(&self) -> Result<()> {
        let secure = self.address.starts_with("https://");
        if !secure && !self.address.starts_with("http://") {
            return Err(Error::user(format!("address `{}` must begin with https:// or http://", self.address)));
        }
        if secure != self.tls.is_some() {
            return Err(Error::user("`tls` belongs to an https:// address, and an https:// address needs `tls`"));
        }
        if self.tls.as_ref().is_some_and(|tls| tls.cert.is_some() != tls.key.is_some()) {
            return Err(Error::user("`tls.cert` and `tls.key` belong together; set both or neither"));
        }
        if self.page_size == 0 || self.request_timeout.0.is_zero() || self.max_message.0 == 0 {
            return Err(Error::user("`page_size`, `request_timeout` and `max_message` must be above zero"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config { tls: Some(Tls::default()), ..Config::default() };
        change(&mut config);
        config.validate().map_or_else(|e| e.message, |()| String::new())
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_mend() {
        assert_eq!(refusal(|_| ()), "");
        assert!(refusal(|c| c.address = "goldmane:7443".into()).contains("https://"));
        assert!(refusal(|c| c.address = "http://goldmane:7443".into()).contains("`tls`"));
        assert!(refusal(|c| c.tls = None).contains("`tls`"));
        assert!(refusal(|c| c.tls = Some(Tls { cert: Some("c".into()), ..Tls::default() })).contains("tls.key"));
        assert!(refusal(|c| c.page_size = 0).contains("above zero"));
    }

    #[test]
    fn a_config_survives_its_text_and_refuses_unknown_keys() {
        let config = Config { begin: Begin::Latest, ..Config::default() };
        let text = serde_json::to_string(&config).expect("plain values");
        assert_eq!(serde_json::from_str::<Config>(&text).expect("plain values"), config);
        assert!(serde_json::from_str::<Config>(r#"{"adress": "x"}"#).is_err());
    }
}
