use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn post(body: &str) -> Request<Body> {
    Request::post("/repos")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_owned()))
        .unwrap()
}

fn empty(method: &str, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn repositories_are_created_listed_and_deleted() {
    let sandbox = sandbox();
    let created = send(&sandbox, post(r#"{"name":"new","private":true}"#)).await;
    assert_eq!(created.status(), StatusCode::CREATED);
    assert_eq!(created.headers()[header::LOCATION], "/repos/new");
    assert_eq!(json(created).await, json!({ "name": "new", "private": true, "description": "" }));

    let deleted = send(&sandbox, empty("DELETE", "/repos/payroll")).await;
    assert_eq!(deleted.status(), StatusCode::NO_CONTENT);

    let listed = json(send(&sandbox, empty("GET", "/repos")).await).await;
    let names: Vec<_> =
        listed["repositories"].as_array().unwrap().iter().map(|known| known["name"].clone()).collect();
    assert_eq!(names, ["hello-world", "new"]);
    let calls =
        ["create_repo", "delete_repo", "list_repos"].map(|operation| was(operation, Outcome::Answered));
    assert_eq!(seen(&sandbox), calls);
}

#[tokio::test]
async fn errors_are_problem_documents() {
    let sandbox = sandbox();
    let cases = [
        (post(r#"{"name":"payroll"}"#), StatusCode::CONFLICT),
        (empty("DELETE", "/repos/unknown"), StatusCode::NOT_FOUND),
        (empty("DELETE", "/repos/Bad_Name"), StatusCode::BAD_REQUEST),
        (post("{"), StatusCode::BAD_REQUEST),
        (post(r#"{"name":"Bad Name"}"#), StatusCode::BAD_REQUEST),
        (post(r#"{"name":"a","owner":"me"}"#), StatusCode::BAD_REQUEST),
        (post(r"{}"), StatusCode::BAD_REQUEST),
        (empty("POST", "/repos"), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (empty("GET", "/progress"), StatusCode::BAD_REQUEST),
        (empty("GET", "/progress?seconds=0"), StatusCode::BAD_REQUEST),
        (empty("GET", "/progress?seconds=601"), StatusCode::BAD_REQUEST),
        (empty("GET", "/nowhere"), StatusCode::NOT_FOUND),
        (empty("PATCH", "/repos"), StatusCode::METHOD_NOT_ALLOWED),
    ];
    for (request, status) in cases {
        let what = format!("{} {}", request.method(), request.uri());
        let response = send(&sandbox, request).await;
        assert_eq!(response.status(), status, "{what}");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json", "{what}");
        assert_eq!(json(response).await["status"], status.as_u16(), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn progress_gives_a_line_each_second() {
    let sandbox = sandbox();
    let start = tokio::time::Instant::now();
    let mut response = send(&sandbox, empty("GET", "/progress?seconds=3")).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/x-ndjson");
    for second in 1..=3 {
        assert_eq!(chunk(&mut response).await, format!("{{\"second\":{second},\"of\":3}}\n"));
        assert_eq!(start.elapsed().as_secs(), second);
    }
    assert_eq!(text(response).await, "");
    assert_eq!(seen(&sandbox), [was("stream_progress", Outcome::Answered)]);
}

#[tokio::test(start_paused = true)]
async fn progress_stops_when_the_client_leaves() {
    let sandbox = sandbox();
    let mut response = send(&sandbox, empty("GET", "/progress?seconds=600")).await;
    chunk(&mut response).await;
    assert_eq!(seen(&sandbox), [was("stream_progress", Outcome::Running)]);
    drop(response);
    assert_eq!(seen(&sandbox), [was("stream_progress", Outcome::Cancelled)]);
}

#[tokio::test(start_paused = true)]
async fn progress_is_one_answer_to_whom_takes_json_alone() {
    let sandbox = sandbox();
    for (accept, is_plain) in [
        ("application/json", true),
        ("Application/JSON", true),
        ("*/*", false),
        ("application/json, application/x-ndjson", false),
    ] {
        let mut request = empty("GET", "/progress?seconds=3");
        request.headers_mut().insert(header::ACCEPT, accept.parse().unwrap());
        let start = tokio::time::Instant::now();
        let response = send(&sandbox, request).await;
        let until_head = start.elapsed().as_secs();
        let body = text(response).await;
        if is_plain {
            assert_eq!((until_head, body.as_str()), (3, r#"{"seconds":3}"#), "{accept}");
        } else {
            assert_eq!((until_head, body.lines().count()), (0, 3), "{accept}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn plain_call_stops_when_the_client_leaves() {
    let sandbox = sandbox();
    let mut request = empty("GET", "/progress?seconds=600");
    request.headers_mut().insert(header::ACCEPT, "application/json".parse().unwrap());
    let mut waiting = Box::pin(send(&sandbox, request));
    started(&mut waiting).await;
    assert_eq!(seen(&sandbox), [was("stream_progress", Outcome::Running)]);
    drop(waiting);
    assert_eq!(seen(&sandbox), [was("stream_progress", Outcome::Cancelled)]);
}

#[tokio::test]
async fn stopping_ends_the_streams_under_way() {
    let sandbox = sandbox();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(crate::sandbox::serve(sandbox.clone(), None, listener, async {
        stopped.await.unwrap();
    }));
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /progress?seconds=600 HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {SECRET}\r\n\r\n"
    );
    client.write_all(request.as_bytes()).await.unwrap();
    // The head of the answer: the stream is open.
    let mut head = [0; 12];
    client.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    stop.send(()).unwrap();
    served.await.unwrap().unwrap();
    assert_eq!(seen(&sandbox), [was("stream_progress", Outcome::Cancelled)]);
}
