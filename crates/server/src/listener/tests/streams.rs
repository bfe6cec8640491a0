//! Many replies on one HTTP/2 connection: one that is cut does not take the others with it.

use http_body_util::BodyExt;

use super::house::{House, Kind, settle, size, soon, until};

/// A client that takes this much of each reply before it reads.
async fn house(window: u32) -> House {
    House::with_window(Kind::H2, 1 << 20, window).await
}

#[tokio::test]
async fn a_stream_that_is_cut_is_reset_and_its_siblings_go_on() {
    let mut house = house(1 << 16).await;
    let cut = soon(house.get("/endless")).await.unwrap();
    let mut other = soon(house.get("/endless/2")).await.unwrap().into_body();
    let cut = tokio::spawn(size(cut));
    let sight = house.book.sight("/endless");
    settle().await;
    sight.cancelled.cancel();
    until("the reply has left", || sight.has_left()).await;
    assert!(soon(cut).await.unwrap().is_err(), "a part was passed off as the whole");
    let mut read = 0;
    while read < 1 << 20 {
        read += soon(other.frame()).await.unwrap().unwrap().into_data().unwrap().len();
    }
    assert!(!house.book.sight("/endless/2").has_left());
}

#[tokio::test]
async fn a_stream_that_waits_for_its_window_is_cut_all_the_same_and_what_waits_is_thrown_away() {
    // A large part is not given yet; the last piece is; the window has been shut from the start.
    for (window, path) in
        [(1000, "/whole/100000"), (20_000, "/whole/20500"), (0, "/whole/500"), (900, "/endless")]
    {
        let mut house = house(window).await;
        let reply = soon(house.get(path)).await.unwrap();
        let sight = house.book.sight(path);
        settle().await;
        assert!(!sight.has_left(), "{path}");
        sight.cancelled.cancel();
        until("the reply has left", || sight.has_left()).await;
        let written = house.log.written();
        let read = soon(size(reply)).await;
        assert!(read.is_err(), "{path}: {read:?}");
        settle().await;
        assert!(house.log.written() - written < 100, "{path}: more than an answer to the client's frames");
        assert_eq!(soon(house.get("/empty")).await.unwrap().status(), 200, "another on the connection");
    }
}

#[tokio::test]
async fn a_reply_has_not_left_while_some_of_it_waits_for_a_window() {
    for path in ["/whole/9000", "/chunks/1/9000", "/whole/100000"] {
        let mut house = house(1000).await;
        let reply = soon(house.get(path)).await.unwrap();
        let sight = house.book.sight(path);
        assert_eq!(house.size("/whole/500").await, 500, "another on the connection");
        settle().await;
        assert!(!sight.has_left(), "{path}");
        soon(size(reply)).await.unwrap();
        until("the reply has left", || sight.has_left()).await;
    }
}

#[tokio::test]
async fn a_small_reply_that_h2_has_whole_stays_until_its_connection_is_severed() {
    let mut house = house(1000).await;
    let reply = soon(house.get("/whole/9000")).await.unwrap();
    let sight = house.book.sight("/whole/9000");
    until("the reply is given", || sight.is_given()).await;
    sight.cancelled.cancel();
    settle().await;
    assert!(!sight.has_left(), "there is no way to take it back from h2");
    let written = house.log.written();
    house.book.wire().unwrap().sever();
    until("the reply has left", || sight.has_left()).await;
    soon(house.served).await.unwrap();
    assert_eq!(house.log.written(), written);
    assert!(soon(size(reply)).await.is_err(), "a part was passed off as the whole");
}

#[tokio::test]
async fn a_reply_of_exactly_a_window_arrives() {
    for window in [1, 100, 16_384, 65_535] {
        let mut house = house(window).await;
        for size in [window - 1, window, window + 1, 2 * window] {
            let size = size as usize;
            for path in [format!("/whole/{size}"), format!("/chunks/1/{size}")] {
                assert_eq!(house.size(&path).await, size, "{path} through {window}");
                until("the reply has left", || house.book.sight(&path).has_left()).await;
            }
        }
    }
}
