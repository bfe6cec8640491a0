use axum::{
    body::Body,
    extract::{Path, Query, State},
};
use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderValue, Response, header};
use serde_json::json;
use tokio_stream::wrappers::BroadcastStream;
use vestibule_evidence::{Attempt, Filter};
use vestibule_model::AttemptId;

use super::{Answer, Gw, Refused, json as answer, page};

/// Attempts in one answer unless the question says otherwise.
const PAGE: usize = 100;
/// Most attempts in one answer.
const PAGE_MAX: usize = 10_000;

/// The newest that fit. A search sees everything up to now: what is queued is written first.
pub(super) async fn search(State(gw): Gw, Query(filter): Query<Filter>) -> Answer {
    gw.evidence.flush().await.map_err(Refused::broken)?;
    let folder = gw.settings.evidence_folder.clone();
    let found = tokio::task::spawn_blocking(move || {
        let limit = filter.limit.map_or(PAGE, |limit| usize::try_from(limit).unwrap_or(PAGE_MAX));
        vestibule_evidence::newest(&folder, &filter, limit.clamp(1, PAGE_MAX))
    });
    let found = found.await.map_err(Refused::broken)?.map_err(Refused::broken)?;
    page(found.iter().map(|attempt| json!(attempt)).collect(), None)
}

pub(super) async fn show(State(gw): Gw, Path(id): Path<String>) -> Answer {
    let id = AttemptId::parse(&id).map_err(|error| Refused::invalid(error.to_string()))?;
    gw.evidence.flush().await.map_err(Refused::broken)?;
    let folder = gw.settings.evidence_folder.clone();
    let found = tokio::task::spawn_blocking(move || vestibule_evidence::get(&folder, id));
    let found = found.await.map_err(Refused::broken)?.map_err(Refused::broken)?;
    answer(200, &found.ok_or_else(|| Refused::not_found("attempt"))?)
}

/// Attempts as they end, one JSON object a line, until the client leaves. A view, not the record: a reader that is too
/// slow misses some.
pub(super) async fn live(State(gw): Gw, Query(filter): Query<Filter>) -> Response<Body> {
    let attempts = BroadcastStream::new(gw.evidence.subscribe());
    let lines = attempts.filter_map(move |attempt| {
        let line =
            attempt.ok().filter(|attempt: &std::sync::Arc<Attempt>| filter.fits(attempt)).and_then(line);
        async move { line.map(Ok::<_, std::convert::Infallible>) }
    });
    let mut response = Response::new(Body::from_stream(lines));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    response
}

fn line(attempt: std::sync::Arc<Attempt>) -> Option<Bytes> {
    let mut line = serde_json::to_vec(&*attempt).ok()?;
    line.push(b'\n');
    Some(line.into())
}

/// Checks the whole record against its signed checkpoints.
pub(super) async fn verify(State(gw): Gw) -> Answer {
    gw.evidence.flush().await.map_err(Refused::broken)?;
    let folder = gw.settings.evidence_folder.clone();
    // With the key that signs here, not with one that lies beside what is verified.
    let key = gw.evidence.public_key().clone();
    let verified = tokio::task::spawn_blocking(move || vestibule_evidence::verify(&folder, &key));
    match verified.await.map_err(Refused::broken)? {
        Ok(report) => answer(200, &json!({ "ok": true, "report": report })),
        Err(error) => answer(200, &json!({ "ok": false, "error": error.to_string() })),
    }
}
