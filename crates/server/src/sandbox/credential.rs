//! The sandbox's own check: what an upstream with a static credential does.

use ::http::{HeaderMap, StatusCode, header};
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::{Sandbox, http::Problem, single_header};

#[derive(Debug)]
pub(super) struct Credential(SecretString);

impl Credential {
    pub(super) fn new(secret: SecretString) -> Self {
        Self(secret)
    }

    fn is_in(&self, headers: &HeaderMap) -> bool {
        // RFC 9110 §11.1: the scheme is case-insensitive.
        single_header(headers, header::AUTHORIZATION.as_str())
            .and_then(|value| value.split_once(' '))
            .is_some_and(|(scheme, secret)| {
                scheme.eq_ignore_ascii_case("bearer")
                    && bool::from(secret.as_bytes().ct_eq(self.0.expose_secret().as_bytes()))
            })
    }
}

/// Lets through what presents the credential; the rest is remembered and answered 401.
pub(super) async fn check(State(sandbox): State<Sandbox>, request: Request, next: Next) -> Response {
    sandbox.journal.arrived();
    if sandbox.credential.is_in(request.headers()) {
        return next.run(request).await;
    }
    sandbox.journal.refused(request.method(), request.uri().path());
    let problem = Problem::new(StatusCode::UNAUTHORIZED, "the credential of the sandbox is missing or wrong");
    ([(header::WWW_AUTHENTICATE, "Bearer")], problem).into_response()
}
