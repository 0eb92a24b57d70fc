//! One connection to the collector, and one `Flows.List` at a time through it.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::{Buf as _, Bytes};
use catchment_core::{Domain, Error, Result, Retry};
use catchment_schemas::goldmane::FlowListRequest;
use http::uri::PathAndQuery;
use prost::Message as _;
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};

use crate::metrics::Metrics;
use crate::{Config, Tls};

const LIST: &str = "/goldmane.Flows/List";
/// Pause after a call, in lengths of that call: keeps the collector, which answers on the thread it
/// ingests on, at most 20 % busy with us.
const PAUSE: u32 = 4;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum ListError {
    /// The answer is larger than accepted on either side.
    TooLarge,
    /// The collector does not accept the request, which for our requests speaks of its clock.
    Refused(Status),
    /// Everything else.
    Failed(Error),
}

impl From<ListError> for Error {
    fn from(error: ListError) -> Self {
        match error {
            ListError::TooLarge => {
                Self::user("the collector's answer exceeds `max_message`; raise it or lower `page_size`")
            }
            ListError::Refused(status) => Self::external("the collector refused to list flows").caused_by(status),
            ListError::Failed(error) => error,
        }
    }
}

/// A client that connects when needed, and again when its certificates change.
pub(crate) struct Client {
    config: Config,
    metrics: Metrics,
    link: Option<Link>,
    ready_at: Instant,
}

struct Link {
    grpc: Grpc<Channel>,
    certificates: Fingerprint,
}

impl Client {
    pub(crate) fn new(config: Config, metrics: Metrics) -> Self {
        Self { config, metrics, link: None, ready_at: Instant::now() }
    }

    /// Sends one request and returns the encoded `FlowListResult`. Waits its turn unless `urgent`.
    pub(crate) async fn list(&mut self, request: FlowListRequest, urgent: bool) -> Result<Bytes, ListError> {
        if !urgent {
            tokio::time::sleep_until(self.ready_at).await;
        }
        let timeout = self.config.request_timeout.0;
        let mut grpc = self.connected().await.map_err(ListError::Failed)?;
        let started = Instant::now();
        let answer = tokio::time::timeout(timeout, call(&mut grpc, request)).await;
        let took = started.elapsed();
        self.ready_at = Instant::now() + took * PAUSE;
        self.metrics.list_requests.inc();
        self.metrics.list_seconds.observe(took.as_secs_f64());
        let answer = answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
        match answer {
            Ok(bytes) => {
                self.metrics.bytes.inc_by(bytes.len() as u64);
                Ok(bytes)
            }
            Err(status) => Err(self.classify(status)),
        }
    }

    fn classify(&mut self, status: Status) -> ListError {
        let address = &self.config.address;
        match status.code() {
            Code::OutOfRange | Code::ResourceExhausted => return ListError::TooLarge,
            Code::Unknown | Code::InvalidArgument if std::error::Error::source(&status).is_none() => {
                return ListError::Refused(status);
            }
            _ => {}
        }
        self.link = None;
        ListError::Failed(
            match status.code() {
                Code::Unimplemented => {
                    Error::user(format!("what listens at {address} is no flow collector; check `address`"))
                }
                Code::Unauthenticated | Code::PermissionDenied => Error::user(format!(
                    "the collector at {address} does not admit us; check `tls.cert` and the network policies around it"
                )),
                _ => Error::external(format!("the collector at {address} did not answer")),
            }
            .caused_by(status),
        )
    }

    async fn connected(&mut self) -> Result<Grpc<Channel>> {
        let certificates = Fingerprint::of(self.config.tls.as_ref()).await;
        if let Some(link) = self.link.as_ref().filter(|link| link.certificates == certificates) {
            return Ok(link.grpc.clone());
        }
        let channel = connect(&self.config).await?;
        let limit = usize::try_from(self.config.max_message.0).unwrap_or(usize::MAX);
        let grpc = Grpc::new(channel).max_decoding_message_size(limit);
        self.link = Some(Link { grpc: grpc.clone(), certificates });
        Ok(grpc)
    }
}

async fn call(grpc: &mut Grpc<Channel>, request: FlowListRequest) -> Result<Bytes, Status> {
    grpc.ready().await.map_err(|e| Status::from_error(Box::new(e)))?;
    let answer = grpc.unary(Request::new(request), PathAndQuery::from_static(LIST), RawCodec).await?;
    Ok(answer.into_inner())
}

async fn connect(config: &Config) -> Result<Channel> {
    let address = &config.address;
    let no_address = |e: tonic::transport::Error| Error::user(format!("`{address}` is no address")).caused_by(e);
    let timeout = config.request_timeout.0;
    let mut endpoint = Endpoint::from_shared(address.clone())
        .map_err(no_address)?
        .connect_timeout(timeout)
        .tcp_keepalive(Some(Duration::from_mins(1)))
        // The collector's HTTP/2 stack closes connections that ping often or while idle: once per
        // request that is about to time out is enough to tell a dead peer from a busy one.
        .http2_keep_alive_interval(timeout / 2)
        .keep_alive_timeout(timeout / 2)
        .http2_adaptive_window(true);
    if let Some(tls) = &config.tls {
        let settings = tls_settings(tls).await?;
        endpoint = endpoint.tls_config(settings).map_err(|e| {
            Error::user("the files under `tls` are no PEM certificates and key that fit together").caused_by(e)
        })?;
    }
    endpoint.connect().await.map_err(|e| unconnected(address, e))
}

/// A failed handshake is for the user to mend, yet worth trying again: the files may be replaced.
fn unconnected(address: &str, cause: tonic::transport::Error) -> Error {
    let error = if is_tls(&cause) {
        Error::new(
            Domain::User,
            Retry::Backoff,
            format!("no trusted connection to the collector at {address}; check `tls.ca` and `tls.server_name`"),
        )
    } else {
        Error::external(format!("cannot connect to the collector at {address}"))
    };
    error.caused_by(cause)
}

/// The TLS stack reports what it rejects as invalid data, which plain connections never do.
fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |e| e.source())
        .filter_map(|e| e.downcast_ref::<std::io::Error>())
        .any(|e| e.kind() == std::io::ErrorKind::InvalidData)
}

async fn tls_settings(tls: &Tls) -> Result<ClientTlsConfig> {
    let mut settings = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem(&tls.ca).await?));
    if let (Some(cert), Some(key)) = (&tls.cert, &tls.key) {
        settings = settings.identity(Identity::from_pem(pem(cert).await?, pem(key).await?));
    }
    if let Some(name) = &tls.server_name {
        settings = settings.domain_name(name);
    }
    Ok(settings)
}

async fn pem(path: &Path) -> Result<Vec<u8>> {
    let read = tokio::fs::read(path).await;
    read.map_err(|e| Error::user(format!("cannot read `{}`, named under `tls`", path.display())).caused_by(e))
}

/// When and how long each certificate file was: changes with every replacement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fingerprint(Vec<Option<(SystemTime, u64)>>);

impl Fingerprint {
    async fn of(tls: Option<&Tls>) -> Self {
        let mut stamps = Vec::new();
        for path in tls.into_iter().flat_map(files) {
            let stamp = tokio::fs::metadata(path).await.ok();
            stamps.push(stamp.and_then(|m| Some((m.modified().ok()?, m.len()))));
        }
        Self(stamps)
    }
}

fn files(tls: &Tls) -> impl Iterator<Item = &PathBuf> {
    [Some(&tls.ca), tls.cert.as_ref(), tls.key.as_ref()].into_iter().flatten()
}

/// Leaves the answer as it came: flows are decoded once, after the log.
#[derive(Clone, Copy, Debug, Default)]
struct RawCodec;

impl Codec for RawCodec {
    type Encode = FlowListRequest;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for RawCodec {
    type Item = FlowListRequest;
    type Error = Status;

    fn encode(&mut self, item: Self::Item, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buffer).map_err(|e| Status::internal(e.to_string()))
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
