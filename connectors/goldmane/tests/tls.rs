//! TLS: mutual, with an authority of its own, and with files that change.

mod support;

use std::path::Path;

use catchment_core::{Domain, Source as _};
use catchment_goldmane::{Config, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use support::{Collector, config, source};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

const NAME: &str = "goldmane.calico-system.svc";

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// Certificate and key for `name`, as PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a host name");
        (params.signed_by(&key, &self.0).expect("a certificate").pem(), key.serialize_pem())
    }
}

async fn serve(authority: &Authority) -> String {
    let (cert, key) = authority.issue(NAME);
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(cert, key))
        .client_ca_root(Certificate::from_pem(authority.0.pem()));
    format!("https://{}", Collector::new(15).serve_tls(tls).await)
}

fn write(folder: &Path, authority: &Authority) -> Tls {
    let (cert, key) = authority.issue("catchment");
    let file = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("a writable folder");
        path
    };
    Tls {
        ca: file("ca.crt", authority.0.pem()),
        cert: Some(file("tls.crt", cert)),
        key: Some(file("tls.key", key)),
        server_name: Some(NAME.to_owned()),
    }
}

fn with_tls(address: &str, tls: Tls) -> Config {
    Config { tls: Some(tls), ..config(address) }
}

#[tokio::test]
async fn a_trusted_collector_is_reached_under_the_name_in_its_certificate() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().expect("a folder"));
    let address = serve(&authority).await;
    let tls = write(folder.path(), &authority);
    let found = source(with_tls(&address, tls)).check().await.expect("trusted");
    assert!(found.contains("no flows yet"), "{found}");
}

#[tokio::test]
async fn a_wrong_name_is_the_users_to_mend_and_says_where() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().expect("a folder"));
    let address = serve(&authority).await;
    let tls = Tls { server_name: Some("elsewhere.svc".into()), ..write(folder.path(), &authority) };
    let error = source(with_tls(&address, tls)).check().await.expect_err("another name");
    assert_eq!(error.domain, Domain::User);
    assert!(error.message.contains("tls.server_name"), "{}", error.message);
    assert!(error.chain().contains("elsewhere.svc"), "{}", error.chain());
}

#[tokio::test]
async fn replaced_files_are_read_again() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().expect("a folder"));
    let address = serve(&authority).await;
    let tls = write(folder.path(), &Authority::new());
    let mut source = source(with_tls(&address, tls));
    source.check().await.expect_err("an authority the collector does not know");
    write(folder.path(), &authority);
    source.check().await.expect("the right files");
}

#[tokio::test]
async fn missing_files_are_named() {
    let tls = Tls { ca: "/nowhere/ca.crt".into(), ..Tls::default() };
    let error = source(with_tls("https://127.0.0.1:1", tls)).check().await.expect_err("no file");
    assert_eq!(error.domain, Domain::User);
    assert!(error.message.contains("/nowhere/ca.crt"), "{}", error.message);
}
