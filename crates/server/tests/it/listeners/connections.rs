//! Connections are bounded in number, in total and for each address, and none is needed to stop.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::timeout,
};
use vestibule_testkit::Http;

use super::{start, upstream};
use crate::{
    binary::Folder,
    gateway::PERMIT_TESTERS,
    wire::{Wire, exchange},
};

const SOON: Duration = Duration::from_secs(10);

/// A connection to `address` from another address of this host.
async fn from(source: [u8; 4], address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((source, 0).into()).unwrap();
    socket.connect(address).await.unwrap()
}

#[tokio::test]
async fn an_address_has_its_share_of_connections_and_leaves_the_rest_to_others() {
    let upstream = upstream().await;
    let gateway = start("limits: { connections_per_peer_max: 4 }", &upstream).await;
    let address = gateway.running().data_address();
    let crowd = [127, 0, 0, 2];
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(from(crowd, address).await);
    }
    let mut read = Vec::new();
    // It may end with a reset.
    let _ = timeout(SOON, from(crowd, address).await.read_to_end(&mut read)).await.unwrap();
    assert!(read.is_empty(), "one too many: {}", String::from_utf8_lossy(&read));
    let document = "/.well-known/oauth-authorization-server";
    assert_eq!(Http::get(&gateway.url(document)).send().await.status, 200, "another address");
    let request = format!("GET {document} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    for connection in &mut held {
        connection.write_all(request.as_bytes()).await.unwrap();
        connection.read_to_end(&mut read).await.unwrap();
        assert!(read.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&read));
        read.clear();
    }
    let again = async {
        while read.is_empty() {
            let mut connection = from(crowd, address).await;
            let _ = connection.write_all(request.as_bytes()).await;
            let _ = connection.read_to_end(&mut read).await;
        }
    };
    timeout(SOON, again).await.unwrap();
    assert!(read.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&read));
}

#[tokio::test]
async fn a_gateway_whose_connections_are_all_taken_stops_all_the_same() {
    let upstream = upstream().await;
    let gateway = start("limits: { connections_max: 16, drain_seconds: 1 }", &upstream).await;
    let token = gateway.token("a", "web").await;
    let url = format!("{}/things", gateway.resource("web"));
    upstream.hold();
    let mut calls = JoinSet::new();
    for _ in 0..16 {
        calls.spawn(Http::get(&url).bearer(&token).open());
    }
    upstream.wait_for(16).await;
    timeout(SOON, gateway.stop()).await.unwrap();
    assert!(calls.join_all().await.iter().all(Result::is_err), "a call went on after the drain time");
}

#[tokio::test]
async fn a_gateway_without_file_descriptors_waits_for_some_and_says_so_once_in_a_while() {
    let folder = Folder::with(
        "data: { listen: '127.0.0.1:0' }\nadmin: { listen: '127.0.0.1:0' }\nlimits: { headers_read_seconds: 1 }",
        PERMIT_TESTERS,
    );
    let served = folder.run_with_descriptors(128).await;
    let issuer = served.part("issuer");
    let mut wires = Vec::new();
    for _ in 0..200 {
        wires.push(Wire::to(issuer).await);
    }
    for wire in wires {
        // More than there are descriptors for: the last ones have waited for the first ones to be closed.
        wire.rest().await;
    }
    let request = format!(
        "GET /oauth/jwks HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
        issuer.strip_prefix("http://").unwrap()
    );
    let reply = exchange(issuer, request).await;
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
    served.process.terminate();
    let (code, log) = served.process.ended().await;
    assert_eq!(code, Some(0), "{log}");
    let said = log.matches("no connection can be accepted").count();
    assert!((1..100).contains(&said), "said {said} times");
}
