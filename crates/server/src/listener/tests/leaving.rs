//! A ticket is kept until the reply has left, and not much longer.

use std::sync::Arc;

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::house::{House, Kind, Line, settle, size, soon, until};

#[tokio::test]
async fn a_reply_that_was_read_has_left_while_its_connection_goes_on() {
    for kind in Kind::ALL {
        let mut house = House::open(kind, 4096).await;
        for (path, expected) in [
            ("/whole/1", 1),
            ("/whole/100", 100),
            ("/whole/16384", 16_384),
            ("/whole/300000", 300_000),
            ("/chunks/0/0", 0),
            ("/chunks/1/100", 100),
            ("/chunks/1/16385", 16_385),
            ("/chunks/50/3000", 150_000),
            // Clients end a connection with more than 100 empty frames.
            ("/chunks/150/0", 0),
            ("/empty", 0),
        ] {
            assert_eq!(house.size(path).await, expected, "{kind:?} {path}");
            let sight = house.book.sight(path);
            until(&format!("{kind:?} {path} has left"), || sight.has_left()).await;
        }
        let head = soon(house.ask(Method::HEAD, "/empty/head")).await.unwrap();
        assert_eq!(soon(size(head)).await.unwrap(), 0, "{kind:?}");
        until("the head has left", || house.book.sight("/empty/head").has_left()).await;
        assert!(!house.served.is_finished(), "{kind:?}");
        assert_eq!(house.book.wire().unwrap().is_shared(), kind == Kind::H2);
        let book = house.hang_up().await;
        assert!(book.wire().is_none(), "{kind:?}: the wire is kept by something");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_leave_soon_also_when_their_tasks_run_beside_the_connection() {
    let mut house = House::open(Kind::H2, 4096).await;
    for round in 0..200 {
        let paths: Vec<_> = ["/whole/500", "/chunks/2/20", "/empty", "/whole/40000"]
            .map(|path| format!("{path}/{round}"))
            .into();
        let asked: Vec<_> = paths.iter().map(|path| tokio::spawn(house.get(path))).collect();
        for reply in asked {
            size(soon(reply).await.unwrap().unwrap()).await.unwrap();
        }
        for path in paths {
            let sight = house.book.sight(&path);
            until(&format!("{path} has left"), || sight.has_left()).await;
        }
    }
}

#[tokio::test]
async fn a_reply_that_the_socket_does_not_take_has_not_left_though_http_has_all_of_it() {
    for kind in Kind::ALL {
        for path in ["/whole/9000", "/chunks/1/9000"] {
            let mut house = House::open(kind, 512).await;
            house.gate.shut();
            let reply = tokio::spawn(house.get(path));
            until("the client is full", || house.log.is_blocked()).await;
            settle().await;
            let sight = house.book.sight(path);
            // In HTTP/2, the end of a stream waits for what is before it.
            assert!(sight.is_given() || (kind == Kind::H2 && path != "/whole/9000"), "{kind:?} {path}");
            assert!(!sight.has_left(), "{kind:?} {path}: let go with {} bytes written", house.log.written());
            house.gate.open();
            assert_eq!(soon(size(soon(reply).await.unwrap().unwrap())).await.unwrap(), 9000);
            until("the reply has left", || sight.has_left()).await;
        }
    }
}

#[tokio::test]
async fn a_reply_without_a_body_waits_for_what_is_before_it() {
    let mut house = House::open(Kind::H2, 512).await;
    house.gate.shut();
    let large = tokio::spawn(house.get("/whole/9000"));
    until("the client is full", || house.log.is_blocked()).await;
    let empty = tokio::spawn(house.get("/empty"));
    let sight = house.book.sight("/empty");
    until("the reply is given", || sight.is_given()).await;
    settle().await;
    assert!(!sight.has_left());
    house.gate.open();
    soon(empty).await.unwrap().unwrap();
    assert_eq!(soon(size(soon(large).await.unwrap().unwrap())).await.unwrap(), 9000);
    until("the reply has left", || sight.has_left()).await;
}

#[tokio::test]
async fn nothing_is_left_behind_when_the_client_hangs_up() {
    for kind in Kind::ALL {
        for path in ["/whole/3000000", "/whole/9000", "/endless", "/never"] {
            let mut house = House::open(kind, 512).await;
            if path != "/never" {
                house.gate.shut();
            }
            let reply = tokio::spawn(house.get(path));
            until("it is under way", || house.book.wire().is_some()).await;
            settle().await;
            assert!(!house.book.sight(path).has_left(), "{kind:?} {path}");
            let book = house.hang_up().await;
            drop(soon(reply).await);
            until("the reply has left", || book.sight(path).has_left()).await;
            until("the wire is gone", || book.wire().is_none()).await;
        }
    }
}

/// Says `requests` at once, and reads to the end of the connection.
async fn talk(line: &mut Line, requests: &str) -> String {
    line.pipe.write_all(requests.as_bytes()).await.unwrap();
    let mut said = String::new();
    soon(line.pipe.read_to_string(&mut said)).await.unwrap();
    said
}

#[tokio::test]
async fn replies_to_requests_that_were_sent_at_once_all_leave() {
    let mut line = Line::open(512, None);
    let paths = ["/whole/600", "/empty", "/chunks/3/700", "/whole/20"];
    let requests: String =
        paths.map(|path| format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")).into_iter().collect();
    line.pipe.write_all(requests.as_bytes()).await.unwrap();
    until("the client is full", || line.log.is_blocked()).await;
    settle().await;
    assert!(!line.book.sight("/whole/600").has_left());
    let said = talk(&mut line, "GET /empty/last HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await;
    assert_eq!(said.matches("HTTP/1.1 200 OK").count(), 5, "{said}");
    for path in paths.into_iter().chain(["/empty/last"]) {
        assert!(line.book.sight(path).has_left(), "{path}");
    }
}

#[tokio::test]
async fn a_reply_that_ends_its_connection_leaves() {
    for (version, headers) in [("HTTP/1.1", "host: test\r\nconnection: close\r\n"), ("HTTP/1.0", "")] {
        for path in ["/whole/2000", "/chunks/2/900", "/empty"] {
            let mut line = Line::open(512, None);
            let said = talk(&mut line, &format!("GET {path} {version}\r\n{headers}\r\n")).await;
            assert!(said.starts_with(&format!("{version} 200 OK")), "{said}");
            soon(line.served).await.unwrap();
            assert!(line.book.sight(path).has_left(), "{version} {path}");
        }
    }
}

#[tokio::test]
async fn a_client_that_waits_to_be_asked_for_its_body_is_served_and_its_reply_leaves() {
    let mut line = Line::open(512, None);
    line.pipe
        .write_all(b"POST /read HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
        .await
        .unwrap();
    let mut asked = [0; 25];
    soon(line.pipe.read_exact(&mut asked)).await.unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    settle().await;
    let sight = line.book.sight("/read");
    assert!(!sight.has_left());
    line.pipe.write_all(b"hello").await.unwrap();
    until("the reply has left", || sight.has_left()).await;
    assert!(!line.served.is_finished());
    let said = talk(&mut line, "GET /empty HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await;
    assert!(said.contains("hello"), "{said}");
}

#[tokio::test]
async fn a_request_that_was_given_up_leaves_nothing_on_its_connection() {
    let mut house = House::open(Kind::H2, 4096).await;
    let asked = tokio::spawn(house.get("/never"));
    let sight = house.book.sight("/never");
    until("it is under way", || house.book.wire().is_some()).await;
    asked.abort();
    until("the request is over", || sight.has_left()).await;
    assert_eq!(house.size("/whole/10").await, 10);
    assert_eq!(
        Arc::strong_count(&house.book.wire().unwrap()),
        3,
        "held here, by the connection and its socket"
    );
}
