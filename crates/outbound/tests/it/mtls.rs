//! A client certificate as the proof of being a client (RFC 8705).

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio_rustls::TlsAcceptor;
use vestibule_outbound::{ClientAuthConfig, EndpointsConfig};

use super::{
    world::{caller, permit_of, server_config},
    *,
};

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Certificate and key, in PEM.
    fn leaf(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// A token endpoint that answers those who show a certificate of `authority`, and tells which one that was, with the body.
async fn serve(authority: &Authority) -> (String, mpsc::UnboundedReceiver<(Vec<u8>, String)>) {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap();
    let (cert, key) = authority.leaf("localhost", ExtendedKeyUsagePurpose::ServerAuth);
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/token", listener.local_addr().unwrap().port());
    let (report, shown) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = TlsAcceptor::from(Arc::new(config.clone())).accept(stream).await else {
                continue;
            };
            let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
            let mut text = String::new();
            while !text.contains("grant_type") {
                let mut buffer = vec![0; 4096];
                let length = stream.read(&mut buffer).await.unwrap();
                text.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
            }
            let _ = report.send((shown, text));
            let body = r#"{"access_token":"a","token_type":"Bearer","expires_in":60}"#;
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (url, shown)
}

fn der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

struct Files(tempfile::TempDir);

impl Files {
    fn write(&self, (cert, key): &(String, String)) {
        std::fs::write(self.0.path().join("cert"), cert).unwrap();
        std::fs::write(self.0.path().join("key"), key).unwrap();
    }

    fn outbound(
        &self,
        url: &str,
        authority: &Authority,
        clock: &Arc<FixedClock>,
    ) -> Result<Outbound, OutboundError> {
        let mut server = server_config("https://issuer.test");
        server.endpoints = EndpointsConfig::Given {
            issuer: None,
            token: Url::parse(url).unwrap(),
            revocation: None,
            introspection: None,
        };
        let file = |name: &str| SecretRef::File(self.0.path().join(name));
        server.auth = ClientAuthConfig::Mtls { cert: file("cert"), key: file("key") };
        let strategy = serde_saphyr::from_str("client-credentials: { server: corp }").unwrap();
        let apps =
            vec![UpstreamConfig { app: app(), url: Url::parse("http://127.0.0.1:1").unwrap(), strategy }];
        let trust = Trust::only(authority.pem.as_bytes()).unwrap();
        let ways = Ways { apps: client(Duration::from_secs(5)), servers: trust };
        let config = OutboundConfig { apps, servers: vec![server] };
        Outbound::new(config, ways, backing(Arc::<FixedClock>::clone(clock), Arc::new(Issued::default())))
    }
}

#[tokio::test]
async fn the_certificate_is_shown_with_the_client_id_and_a_new_one_is_used_when_it_is_replaced() {
    let (authority, clock) = (Authority::new(), clock());
    let (url, mut shown) = serve(&authority).await;
    let files = Files(tempfile::tempdir().unwrap());
    let [first, second] =
        ["one", "two"].map(|name| authority.leaf(name, ExtendedKeyUsagePurpose::ClientAuth));
    files.write(&first);
    let outbound = files.outbound(&url, &authority, &clock).unwrap();
    let obtain = async || outbound.obtain(permit_of(caller(None, &["a"]), "read"), &calling(1)).await;
    obtain().await.unwrap();
    let (certificate, request) = shown.recv().await.unwrap();
    assert_eq!(certificate, der(&first.0));
    // RFC 8705 §2: the client_id tells the server which certificate to expect.
    assert!(request.contains("client_id=gateway") && !request.contains("authorization"), "{request}");

    files.write(&second);
    clock.advance(Duration::from_secs(60));
    obtain().await.unwrap();
    assert_eq!(shown.recv().await.unwrap().0, der(&second.0));
}

#[tokio::test]
async fn a_key_that_is_not_the_certificates_keeps_the_gateway_from_starting() {
    let (authority, clock) = (Authority::new(), clock());
    let files = Files(tempfile::tempdir().unwrap());
    let [one, two] = ["one", "two"].map(|name| authority.leaf(name, ExtendedKeyUsagePurpose::ClientAuth));
    for pair in [(one.0.clone(), two.1), (one.0, "nothing".to_owned()), ("nothing".to_owned(), one.1)] {
        files.write(&pair);
        let error = files.outbound("https://localhost/token", &authority, &clock).unwrap_err();
        assert!(error.to_string().contains("client certificate cannot be used"), "{error}");
    }
}
