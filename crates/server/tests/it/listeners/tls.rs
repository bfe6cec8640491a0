//! TLS from files.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use vestibule_model::SystemClock;
use vestibule_testkit::TestUpstream;

use super::{does_not_start, upstream, with_app};
use crate::{
    gateway::{PERMIT_TESTERS, TestGateway, folder},
    wire::exchange,
};

/// A self-signed certificate for 127.0.0.1, in files that the configuration below names.
fn certify(dir: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

const TLS: &str = "data: { tls: { cert: cert.pem, key: key.pem } }";

async fn start_with_tls(upstream: &TestUpstream) -> (TestGateway, CertificateDer<'static>) {
    start_with_limits(upstream, "").await
}

/// A gateway that speaks TLS and has these limits, with its certificate.
pub(super) async fn start_with_limits(
    upstream: &TestUpstream,
    limits: &str,
) -> (TestGateway, CertificateDer<'static>) {
    let dir = folder(&[("all.cedar", PERMIT_TESTERS)]);
    let cert = certify(dir.path());
    let clock = Arc::new(SystemClock::default());
    let config = with_app(&format!("{TLS}\nlimits: {{ {limits} }}"), upstream);
    (TestGateway::start_in(dir, &config, clock).await, cert)
}

/// A handshake that trusts nothing but `cert`.
pub(super) async fn handshake(
    gateway: &TestGateway,
    cert: &CertificateDer<'static>,
    alpn: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(cert.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let address = gateway.running().data_address();
    let tcp = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(address.ip().into(), tcp).await
}

/// One request over TLS, in the version of HTTP that was negotiated.
async fn over_tls(stream: TlsStream<TcpStream>, request: Request<Full<Bytes>>) -> (u16, HeaderMap, Value) {
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let response = if is_h2 {
        let io = TokioIo::new(stream);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    } else {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    };
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status.as_u16(), head.headers, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn over_tls_both_versions_of_http_go_through_the_same_doors() {
    let upstream = upstream().await;
    let (gateway, cert) = start_with_tls(&upstream).await;
    let base = gateway.url("");
    assert!(base.starts_with("https://127.0.0.1:"), "{base}");
    let added = gateway.post("/admin/v1/agents", &json!({ "id": "a", "groups": ["testers"] })).await;
    let secret = added["client_secret"].as_str().unwrap();
    for (alpn, negotiated) in [(&[&b"h2"[..], b"http/1.1"][..], &b"h2"[..]), (&[b"http/1.1"], b"http/1.1")] {
        let send = async |method: &str, path: &str, headers: &[(header::HeaderName, &str)], body: &str| {
            let stream = handshake(&gateway, &cert, alpn).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(negotiated));
            // HTTP/2 takes the authority from the URI, HTTP/1.1 the host from the header.
            let is_h2 = negotiated == b"h2";
            let uri = if is_h2 { format!("{base}{path}") } else { path.to_owned() };
            let mut request = Request::builder().method(method).uri(uri);
            if !is_h2 {
                request = request.header(header::HOST, base.strip_prefix("https://").unwrap());
            }
            request = headers.iter().fold(request, |request, (name, value)| request.header(name, *value));
            over_tls(stream, request.body(Full::new(Bytes::from(body.to_owned()))).unwrap()).await
        };
        let (_, _, metadata) = send("GET", "/.well-known/oauth-authorization-server", &[], "").await;
        assert_eq!(metadata["issuer"], base);
        let form = format!("grant_type=client_credentials&client_id=a&client_secret={secret}");
        let kind = (header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let (status, _, reply) = send("POST", "/oauth/token", &[kind], &form).await;
        assert_eq!(status, 200, "{reply}");
        let bearer = format!("Bearer {}", reply["access_token"].as_str().unwrap());
        let (status, headers, _) = send("GET", "/apps/web/things", &[], "").await;
        assert_eq!(status, 401);
        assert!(headers["www-authenticate"].to_str().unwrap().contains(&base));
        let (status, _, reply) =
            send("GET", "/apps/web/things", &[(header::AUTHORIZATION, &bearer)], "").await;
        assert_eq!((status, reply), (200, json!([])));
    }
    assert_eq!(upstream.requests().len(), 2);
    let plain = exchange(&base.replace("https", "http"), "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(!plain.contains("HTTP/1.1"), "plain HTTP was answered: {plain}");
}

#[tokio::test]
async fn a_certificate_that_changes_is_served_without_a_restart() {
    let upstream = upstream().await;
    let (gateway, old) = start_with_tls(&upstream).await;
    assert!(handshake(&gateway, &old, &[b"h2"]).await.is_ok());
    let new = certify(gateway.dir.path());
    let changed = async {
        while handshake(&gateway, &new, &[b"h2"]).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), changed).await.unwrap();
    assert!(handshake(&gateway, &old, &[b"h2"]).await.is_err(), "the old certificate is served still");
}

#[tokio::test]
async fn a_gateway_does_not_start_with_a_key_of_another_certificate() {
    let dir = TempDir::new().unwrap();
    certify(dir.path());
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(dir.path().join("key.pem"), other.signing_key.serialize_pem()).unwrap();
    let config = format!("{TLS}\nadmin: {{ listen: '127.0.0.1:0' }}")
        .replace("data: {", "data: { listen: '127.0.0.1:0',");
    let refused = does_not_start(&config, dir.path()).await;
    assert_eq!(refused, "`data.tls`: certificate and key do not belong together");
}
