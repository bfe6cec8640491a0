//! The sandbox as an HTTP API. Errors are problem documents (RFC 9457).

use std::convert::Infallible;

use ::http::{HeaderMap, StatusCode, header};
use axum::{
    Json,
    body::Body,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, future};
use serde::Deserialize;
use serde_json::json;

use super::{
    Sandbox, progress,
    progress::{Seconds, Step},
    repositories::{Name, Repository, RepositoryError},
    single_header,
};

/// The API as the gateway's configuration has it: the key `operations` of an application of kind `http`.
pub const HTTP_OPERATIONS: &str = include_str!("http_operations.yaml");

pub(super) async fn list(State(sandbox): State<Sandbox>) -> Response {
    let call = sandbox.journal.call("list_repos");
    let body = json!({ "repositories": sandbox.repositories.list() });
    call.answered();
    Json(body).into_response()
}

pub(super) async fn create(
    State(sandbox): State<Sandbox>,
    body: Result<Json<Repository>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(repository) = body?;
    let call = sandbox.journal.call("create_repo");
    let created = sandbox.repositories.create(&repository);
    call.answered();
    created?;
    let location = [(header::LOCATION, format!("/repos/{}", repository.name))];
    Ok((StatusCode::CREATED, location, Json(repository)).into_response())
}

pub(super) async fn delete(
    State(sandbox): State<Sandbox>,
    name: Result<Path<Name>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let Path(name) = name?;
    let call = sandbox.journal.call("delete_repo");
    let deleted = sandbox.repositories.delete(&name);
    call.answered();
    deleted?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProgressQuery {
    seconds: Seconds,
}

/// One line of JSON a second; or, to a client that takes nothing but `application/json`, one answer at the end.
pub(super) async fn progress(
    State(sandbox): State<Sandbox>,
    headers: HeaderMap,
    query: Result<Query<ProgressQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(ProgressQuery { seconds }) = query?;
    let call = sandbox.journal.call_for("stream_progress", seconds);
    let steps = progress::run(seconds, call, sandbox.closing.child_token());
    if takes_json_alone(&headers) {
        return if progress::is_finished(steps).await {
            Ok(Json(json!({ "seconds": seconds.get() })).into_response())
        } else {
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the sandbox is stopping"))
        };
    }
    let lines = steps.filter_map(move |step| future::ready(line(step, seconds))).map(Ok::<_, Infallible>);
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

fn takes_json_alone(headers: &HeaderMap) -> bool {
    single_header(headers, header::ACCEPT.as_str())
        .is_some_and(|accepted| accepted.trim().eq_ignore_ascii_case("application/json"))
}

fn line(step: Step, total: Seconds) -> Option<String> {
    match step {
        Step::Second(second) => Some(format!("{}\n", json!({ "second": second, "of": total.get() }))),
        Step::End => None,
    }
}

pub(super) async fn unknown_path() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path")
}

pub(super) async fn wrong_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
}

/// Why a request was not served.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        (self.status, [(header::CONTENT_TYPE, "application/problem+json")], Json(body)).into_response()
    }
}

impl From<RepositoryError> for Problem {
    fn from(error: RepositoryError) -> Self {
        let status = match error {
            RepositoryError::Unknown(_) => StatusCode::NOT_FOUND,
            RepositoryError::Exists(_) | RepositoryError::Full => StatusCode::CONFLICT,
        };
        Self::new(status, error.to_string())
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        let status = match rejection.status() {
            // JSON that is not a repository is as malformed a request as what is no JSON.
            StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
            status => status,
        };
        Self::new(status, rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}
