//! The data listener: applications go straight to the pipeline; beside it the documents that tell clients how to get in,
//! and the token endpoint.

use std::sync::Arc;

use axum::body::Body;
use http::{HeaderValue, Method, Request, Response, header};
use hyper::body::Incoming;
use serde_json::{Value, json};
use vestibule_inbound::dpop;
use vestibule_model::{AUTHORITY_TYPE, AppKind, AttemptId, Denial, Stop};

use crate::{
    apps::App,
    arrival, edge,
    edge::Surface,
    gateway::Gateway,
    listener::{Handler, Peer},
    pipeline,
    token_endpoint::{self, Door},
};

const RESOURCE_METADATA: &str = "/.well-known/oauth-protected-resource";
const SERVER_METADATA: &str = "/.well-known/oauth-authorization-server";

pub(crate) fn handler(gateway: Arc<Gateway>) -> Handler {
    Arc::new(move |request, peer| {
        let gateway = Arc::clone(&gateway);
        if request.uri().path().starts_with("/apps/") {
            Box::pin(pipeline::handle(gateway, request, peer))
        } else {
            Box::pin(beside(gateway, request, peer))
        }
    })
}

/// Everything that is not an application.
async fn beside(gw: Arc<Gateway>, request: Request<Incoming>, peer: Peer) -> Response<Body> {
    if let Err(denial) = gw.names.check(request.uri(), request.headers()) {
        return refuse(&gw, denial);
    }
    let path = request.uri().path();
    let document = match (request.method(), path) {
        (&Method::POST, "/oauth/token") => {
            return token_endpoint::handle(gw, request, &peer, Door::Token).await;
        }
        (&Method::POST, "/oauth/introspect") => {
            return token_endpoint::handle(gw, request, &peer, Door::Introspection).await;
        }
        (&Method::POST, "/oauth/revoke") => {
            return token_endpoint::handle(gw, request, &peer, Door::Revocation).await;
        }
        (_, "/oauth/token" | "/oauth/introspect" | "/oauth/revoke") => return not_allowed(&gw, "POST"),
        (&Method::GET | &Method::HEAD, "/oauth/jwks") => Some(gw.issuer.jwks()),
        (&Method::GET | &Method::HEAD, SERVER_METADATA) => Some(gw.issuer.metadata()),
        (&Method::GET | &Method::HEAD, path) => {
            path.strip_prefix(RESOURCE_METADATA).and_then(|of| resource(&gw, of))
        }
        (_, "/oauth/jwks" | SERVER_METADATA) => return not_allowed(&gw, "GET, HEAD"),
        (_, _) => None,
    };
    document.map_or_else(|| refuse(&gw, Denial::AppUnknown), |document| public(&document))
}

/// RFC 9728 §2. `resource` is exactly the identifier that the URL was made from (§3.3), or clients refuse it.
fn resource(gw: &Gateway, of: &str) -> Option<Value> {
    let (id, rest) = arrival::split(of)?;
    let app = gw.apps.get(id)?;
    let wanted = match app.kind() {
        AppKind::Mcp => "/mcp",
        AppKind::Http => "",
    };
    (rest == wanted).then(|| metadata(gw, &app))
}

fn metadata(gw: &Gateway, app: &App) -> Value {
    let scopes = app.scopes();
    json!({
        "resource": app.resource(),
        "authorization_servers": [gw.names.public_url()],
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": dpop::ALGORITHMS.iter().flat_map(|one| one.names()).collect::<Vec<_>>(),
        "authorization_details_types_supported": [AUTHORITY_TYPE],
        "scopes_supported": scopes.split_whitespace().collect::<Vec<_>>(),
        "resource_name": app.id().as_str(),
    })
}

/// A document for everybody, which proxies may keep for a minute.
fn public(document: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(document.to_string()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
    // Clients in a browser read these before they have a token.
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// Nothing here has a body to be read, so a request that brings one ends its connection.
fn not_allowed(gw: &Gateway, allowed: &'static str) -> Response<Body> {
    let mut response = refuse(gw, Denial::MethodNotAllowed);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

fn refuse(gw: &Gateway, denial: Denial) -> Response<Body> {
    let id = AttemptId::new(gw.clock.now(), &*gw.entropy);
    let mut response = edge::answer(&Stop::from(denial), &Surface::default(), id);
    edge::closing(&mut response);
    response
}
