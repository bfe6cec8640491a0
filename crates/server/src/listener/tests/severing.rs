//! From the moment that a wire is severed, nothing is written to its socket.

use std::{io::ErrorKind, net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use tokio_util::sync::CancellationToken;

use super::{
    book::{Book, handler},
    house::{House, Kind, settle, size, soon, tls, until},
};
use crate::{config::LimitsConfig, listener::Listener, tls::Tls};

#[tokio::test]
async fn nothing_that_http_and_tls_hold_is_written_after_the_wire_is_severed() {
    for kind in Kind::ALL {
        // What hyper has not asked for yet; what it has buffered, the body having ended.
        for path in ["/whole/3000000", "/whole/9000", "/chunks/1/9000"] {
            let mut house = House::open(kind, 512).await;
            house.gate.shut();
            let reply = tokio::spawn(house.get(path));
            until("the client is full", || house.log.is_blocked()).await;
            settle().await;
            let (written, sight) = (house.log.written(), house.book.sight(path));
            assert!(!sight.has_left(), "{kind:?} {path}");
            house.book.wire().unwrap().sever();
            house.gate.open();
            soon(house.served).await.unwrap();
            assert_eq!(house.log.written(), written, "{kind:?} {path}: written by a severed connection");
            assert!(house.log.was_reset(), "{kind:?} {path}: closed in order");
            until("the reply has left", || sight.has_left()).await;
            let cut = match soon(reply).await.unwrap() {
                Ok(reply) => soon(size(reply)).await.is_err(),
                Err(_) => true,
            };
            assert!(cut, "{kind:?} {path}: a part was passed off as the whole");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_once_sever_has_returned_whatever_the_connection_was_doing() {
    for kind in Kind::ALL {
        for round in 0..40 {
            let mut house = House::open(kind, 4096).await;
            let reply = soon(house.get("/endless")).await.unwrap();
            let reader = tokio::spawn(size(reply));
            let enough = 10_000 + round * 1_000;
            until("there are bytes", || house.log.written() > enough).await;
            let wire = house.book.wire().unwrap();
            // Away from the workers, so that the connection may be in the middle of anything.
            let log = Arc::clone(&house.log);
            let severed = std::thread::spawn(move || {
                wire.sever();
                log.written()
            });
            let written = severed.join().unwrap();
            soon(house.served).await.unwrap();
            assert_eq!(house.log.written(), written, "{kind:?}: written by a severed connection");
            assert!(soon(reader).await.unwrap().is_err(), "{kind:?}");
            until("the reply has left", || house.book.sight("/endless").has_left()).await;
        }
    }
}

#[tokio::test]
async fn a_connection_that_waits_for_a_request_ends_when_it_is_severed() {
    for kind in Kind::ALL {
        let mut house = House::open(kind, 4096).await;
        assert_eq!(house.size("/whole/10").await, 10);
        settle().await;
        let (written, wire) = (house.log.written(), house.book.wire().unwrap());
        wire.sever();
        soon(house.served).await.unwrap();
        assert_eq!(house.log.written(), written, "{kind:?}: a farewell");
        drop(wire);
        assert!(house.book.wire().is_none(), "{kind:?}: the wire is kept by something");
    }
}

async fn listen(tls: Option<Arc<Tls>>) -> (Arc<Book>, SocketAddr, CancellationToken) {
    let (book, handler) = handler();
    let listener = Listener::bind(([127, 0, 0, 1], 0).into(), tls).await.unwrap();
    let (address, stop) = (listener.address(), CancellationToken::new());
    tokio::spawn(listener.serve(Arc::new(LimitsConfig::default()), handler, stop.clone()));
    (book, address, stop)
}

/// A client that the kernel keeps little for.
async fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(address).await.unwrap()
}

#[tokio::test]
async fn a_severed_socket_is_reset_and_what_the_kernel_had_not_sent_is_lost() {
    const ALL: usize = 64 << 20;
    let (book, address, stop) = listen(None).await;
    let mut stream = connect(address).await;
    let path = format!("/whole/{ALL}");
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes()).await.unwrap();
    let mut some = [0; 1000];
    soon(stream.read_exact(&mut some)).await.unwrap();
    assert!(some.starts_with(b"HTTP/1.1 200 "));
    book.wire().unwrap().sever();
    until("the reply has left", || book.sight(&path).has_left()).await;
    let mut rest = Vec::new();
    let error = soon(stream.read_to_end(&mut rest)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(rest.len() < ALL, "{} bytes", rest.len());
    stop.cancel();
}

#[tokio::test]
async fn a_severed_socket_with_tls_is_reset_without_a_farewell() {
    let (tls, connector) = tls(b"http/1.1");
    let (book, address, stop) = listen(Some(tls)).await;
    let mut stream = connector.connect(address.ip().into(), connect(address).await).await.unwrap();
    stream.write_all(b"GET /endless HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    let mut some = [0; 1000];
    soon(stream.read_exact(&mut some)).await.unwrap();
    book.wire().unwrap().sever();
    until("the reply has left", || book.sight("/endless").has_left()).await;
    let error = soon(stream.read_to_end(&mut Vec::new())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    stop.cancel();
}
