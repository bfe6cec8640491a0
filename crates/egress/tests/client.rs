//! The client against real sockets.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::{error::Error, io, net::SocketAddr, sync::Arc, time::Duration};

use http::Request;
use rustls::{ServerConfig, pki_types::PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;
use vestibule_egress::{Addresses, Client, EgressError, EgressLimits, Trust, empty, full};

fn client(addresses: Addresses) -> Client {
    Client::new(addresses, EgressLimits::default(), Trust::default()).unwrap()
}

async fn get(client: &Client, url: &str) -> Result<http::Response<hyper::body::Incoming>, EgressError> {
    client.send(Request::get(url).body(empty()).unwrap()).await
}

/// Reads one request and answers with `answer`, once per connection; reports each request.
async fn answering(answer: &'static str) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (seen, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            answer_one(stream, answer, &seen).await.unwrap();
        }
    });
    (address, requests)
}

async fn answer_one(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &str,
    seen: &mpsc::UnboundedSender<String>,
) -> io::Result<()> {
    let mut buffer = vec![0u8; 4096];
    let length = stream.read(&mut buffer).await?;
    buffer.truncate(length);
    seen.send(String::from_utf8_lossy(&buffer).into_owned()).unwrap();
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// An answer whose body stops in the middle, and the server's end of its connection.
async fn unfinished(client: &Client) -> (http::Response<hyper::body::Incoming>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert_ne!(stream.read(&mut [0; 4096]).await.unwrap(), 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n1234").await.unwrap();
        stream
    };
    let (answer, stream) = tokio::join!(get(client, &url), serving);
    (answer.unwrap(), stream)
}

/// The text of an error with all its causes, as a log shows it.
fn chain(error: &dyn Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", chain(cause)),
        None => error.to_string(),
    }
}

#[tokio::test]
async fn a_request_and_its_answer_pass_unchanged() {
    let (address, mut requests) =
        answering("HTTP/1.1 201 Created\r\nx-a: b\r\ncontent-length: 4\r\n\r\nbody").await;
    let request =
        Request::put(format!("http://{address}/a/b?c=d")).header("x-c", "d").body(full("sent")).unwrap();

    let response = client(Addresses::Operator).send(request).await.unwrap();

    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["x-a"], "b");
    assert_eq!(Client::read_body(response.into_body(), 4).await.unwrap(), "body");
    let seen = requests.recv().await.unwrap();
    assert!(seen.starts_with("PUT /a/b?c=d HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains(&format!("host: {address}\r\n")), "{seen}");
    assert!(seen.contains("content-length: 4\r\n"), "{seen}");
    assert!(seen.ends_with("\r\n\r\nsent"), "{seen}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let (address, mut requests) =
        answering("HTTP/1.1 307 Temporary Redirect\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n")
            .await;

    let response = get(&client(Addresses::Operator), &format!("http://{address}/here")).await.unwrap();

    assert_eq!(response.status(), 307);
    assert_eq!(response.headers()["location"], "/elsewhere");
    assert!(requests.recv().await.unwrap().starts_with("GET /here "));
    assert!(requests.try_recv().is_err(), "one request, not two");
}

#[tokio::test]
async fn literals_and_plain_http_are_refused_to_strangers_before_connecting() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let refused = [
        (format!("http://93.184.216.34:{port}/"), "only https is allowed"),
        (format!("https://127.0.0.1:{port}/"), "loopback"),
        (format!("https://[::1]:{port}/"), "loopback"),
        (format!("https://[::ffff:127.0.0.1]:{port}/"), "loopback"),
        (format!("https://localhost:{port}/"), "loopback"),
    ];
    for (url, expected) in &refused {
        let error = get(&client(Addresses::Stranger), url).await.unwrap_err();
        let EgressError::AddressRefused { reason, .. } = error else { panic!("{url}: {error}") };
        assert_eq!(reason, *expected, "{url}");
    }
    let idle = std::future::poll_fn(|context| listener.poll_accept(context).is_pending().into()).await;
    assert!(idle, "nothing may connect");
}

#[tokio::test]
async fn metadata_services_are_refused_to_the_operator_too() {
    let notations = [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/",
        "http://metadata.google.internal/",
        // No address literals for the connector; the resolver of the system takes them for 169.254.169.254.
        "http://2852039166/",
        "http://0xa9.0xfe.0xa9fe/",
    ];
    for url in notations {
        let error = get(&client(Addresses::Operator), url).await.unwrap_err();
        assert!(matches!(error, EgressError::AddressRefused { .. }), "{url}: {error}");
    }
}

#[tokio::test]
async fn user_information_in_a_url_is_refused_and_not_shown() {
    let (address, mut requests) = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;

    let error =
        get(&client(Addresses::Operator), &format!("http://user:hunter2@{address}/")).await.unwrap_err();

    assert!(matches!(error, EgressError::AddressRefused { .. }), "{error}");
    assert!(!chain(&error).contains("hunter2"), "{}", chain(&error));
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    assert!(requests.try_recv().is_err());
}

#[tokio::test]
async fn a_server_that_never_answers_meets_the_head_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/path?token=hunter2", listener.local_addr().unwrap());
    let limits = EgressLimits { head_timeout: Duration::from_millis(20), ..EgressLimits::default() };

    let error =
        get(&Client::new(Addresses::Operator, limits, Trust::default()).unwrap(), &url).await.unwrap_err();

    assert!(matches!(error, EgressError::HeadTimeout { .. }), "{error}");
    assert_eq!(chain(&error), "`127.0.0.1` did not answer within 20ms");
}

#[tokio::test]
async fn a_server_that_never_finishes_the_handshake_meets_the_connect_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let limits = EgressLimits { connect_timeout: Duration::from_millis(20), ..EgressLimits::default() };

    let error =
        get(&Client::new(Addresses::Operator, limits, Trust::default()).unwrap(), &url).await.unwrap_err();

    assert!(matches!(error, EgressError::Connect { .. }), "{error}");
}

#[tokio::test]
async fn a_closed_port_a_closed_connection_and_noise_are_told_apart() {
    let closed_port = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let (hangs_up, _seen) = answering("").await;
    let (noise, _seen) = answering("SSH-2.0-OpenSSH_9.6\r\n\r\n").await;
    let client = client(Addresses::Operator);

    let error = get(&client, &format!("http://{closed_port}/?secret")).await.unwrap_err();
    assert!(matches!(error, EgressError::Connect { .. }), "{error:?}");
    assert!(!chain(&error).contains("secret"), "{}", chain(&error));
    let error = get(&client, &format!("http://{hangs_up}/?secret")).await.unwrap_err();
    assert!(matches!(error, EgressError::Closed { .. }), "{error:?}");
    assert!(!chain(&error).contains("secret"), "{}", chain(&error));
    let error = get(&client, &format!("http://{noise}/?secret")).await.unwrap_err();
    assert!(matches!(error, EgressError::Protocol { .. }), "{error:?}");
    assert!(!chain(&error).contains("secret"), "{}", chain(&error));
}

#[tokio::test]
async fn a_body_is_collected_up_to_its_limit_and_to_its_end() {
    let (address, _seen) = answering("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n123456789").await;
    let url = format!("http://{address}/");
    let client = client(Addresses::Operator);

    assert_eq!(
        Client::read_body(get(&client, &url).await.unwrap().into_body(), 9).await.unwrap(),
        "123456789"
    );
    let error = Client::read_body(get(&client, &url).await.unwrap().into_body(), 8).await.unwrap_err();
    assert!(matches!(error, EgressError::TooLarge { max_bytes: 8 }), "{error:?}");

    let (address, _seen) = answering("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n1234").await;
    let answer = get(&client, &format!("http://{address}/")).await.unwrap();
    let error = Client::read_body(answer.into_body(), 9).await.unwrap_err();
    assert!(matches!(error, EgressError::BodyBroken { .. }), "{error:?}");
}

#[tokio::test]
async fn dropping_an_unfinished_answer_closes_the_connection() {
    let (answer, mut stream) = unfinished(&client(Addresses::Operator)).await;

    drop(answer);

    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn tls_is_believed_only_from_a_trusted_issuer_and_for_the_right_name() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, mut requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            answer_one(stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", &seen).await.unwrap();
        }
    });
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let trusting = |trust| Client::new(Addresses::Operator, EgressLimits::default(), trust).unwrap();
    let pem = made.cert.pem();

    for trust in [Trust::only(pem.as_bytes()).unwrap(), Trust::system_and(pem.as_bytes()).unwrap()] {
        let response = get(&trusting(trust), &format!("https://localhost:{port}/")).await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(requests.recv().await.is_some());
    }

    for (trust, host) in [
        (Trust::only(other.cert.pem().as_bytes()).unwrap(), "localhost"),
        (Trust::default(), "localhost"),
        (Trust::only(pem.as_bytes()).unwrap(), "127.0.0.1"),
    ] {
        let error = get(&trusting(trust), &format!("https://{host}:{port}/")).await.unwrap_err();
        assert!(matches!(error, EgressError::Tls { .. }), "{host}: {error:?}");
    }
    assert!(requests.try_recv().is_err(), "no request without trust");
}

#[test]
fn trust_anchors_must_be_certificates() {
    for pem in ["", "not PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let client = Trust::only(pem.as_bytes())
            .and_then(|trust| Client::new(Addresses::Operator, EgressLimits::default(), trust));
        assert!(matches!(client, Err(EgressError::Trust { .. })), "{pem:?}");
    }
}
