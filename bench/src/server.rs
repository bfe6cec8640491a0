//! A plain hyper server, for the two processes that the gateway is measured between.

use std::{convert::Infallible, error::Error, net::SocketAddr};

use http::{Request, Response};
use hyper::{body::Body, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;

use crate::{Failed, print};

/// Runs `serving` on as many threads as there are cores.
pub(crate) fn block_on(serving: impl Future<Output = Result<(), Failed>>) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| Failed::because("cannot start", error))?.block_on(serving)
}

/// Serves HTTP/1.1 until the process is ended. Prints the bound address as one JSON line once it accepts.
pub(crate) async fn serve<B, F>(
    listen: SocketAddr,
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static,
) -> Result<(), Failed>
where
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
{
    let listener = TcpListener::bind(listen).await.map_err(|error| Failed::because(listen, error))?;
    let bound = listener.local_addr().map_err(|error| Failed::because(listen, error))?;
    print(&json!({ "listen": bound }));
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let answer = answer.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answering = answer(request);
                async move { Ok::<_, Infallible>(answering.await) }
            });
            // A connection that fails is the load generator's to notice.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
