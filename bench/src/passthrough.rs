//! The yardstick: hyper in front, hyper-util's pooled client behind, and nothing in between.

use std::net::SocketAddr;

use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, combinators::UnsyncBoxBody};
use hyper::body::{Bytes, Incoming};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

use crate::{Failed, server};

type Pool = Client<HttpConnector, Incoming>;
type Reply = UnsyncBoxBody<Bytes, hyper::Error>;

#[expect(
    clippy::disallowed_methods,
    reason = "the yardstick is the bare client, without the rules of egress"
)]
pub(crate) async fn serve(listen: SocketAddr, to: &str) -> Result<(), Failed> {
    let base: Uri = to.parse().map_err(|error| Failed::because("--to", error))?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let pool: Pool = Client::builder(TokioExecutor::new()).build(connector);
    server::serve(listen, move |request| pass(pool.clone(), base.clone(), request)).await
}

async fn pass(pool: Pool, base: Uri, mut request: Request<Incoming>) -> Response<Reply> {
    let mut parts = base.into_parts();
    parts.path_and_query = request.uri().path_and_query().cloned();
    let Ok(uri) = Uri::from_parts(parts) else { return failed() };
    *request.uri_mut() = uri;
    request.headers_mut().remove(header::HOST);
    match pool.request(request).await {
        Ok(response) => response.map(UnsyncBoxBody::new),
        Err(_) => failed(),
    }
}

fn failed() -> Response<Reply> {
    let empty = Empty::new().map_err(|never| match never {});
    let mut response = Response::new(UnsyncBoxBody::new(empty));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}
