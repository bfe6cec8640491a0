//! Every row that is served, and who may use it. Tests walk this table: each row is tried by nobody, by a stranger and
//! by the revoked.

/// Who a row is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// Anybody: documents that tell how to get in, and probes that say nothing.
    Anyone,
    /// A client that authenticates in the request itself.
    Client,
    /// An agent with a token for this application.
    Agent,
    /// An operator with the admin token.
    Operator,
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// The HTTP methods.
    pub methods: &'static [&'static str],
    /// The path; `{name}` stands for one segment, `{*rest}` for all that follow.
    pub path: &'static str,
    /// Who it is for.
    pub who: For,
}

const fn route(methods: &'static [&'static str], path: &'static str, who: For) -> Route {
    Route { methods, path, who }
}

/// The rows of the data listener.
pub const DATA: &[Route] = &[
    route(&["GET"], "/.well-known/oauth-authorization-server", For::Anyone),
    route(&["GET"], "/.well-known/oauth-protected-resource/apps/{*resource}", For::Anyone),
    route(&["GET"], "/oauth/jwks", For::Anyone),
    route(&["POST"], "/oauth/token", For::Client),
    route(&["POST"], "/oauth/introspect", For::Client),
    route(&["POST"], "/oauth/revoke", For::Client),
    route(&["POST", "GET", "DELETE"], "/apps/{app}/mcp", For::Agent),
    route(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"], "/apps/{app}/{*path}", For::Agent),
];

/// The rows of the admin listener.
pub const ADMIN: &[Route] = &[
    route(&["GET"], "/livez", For::Anyone),
    route(&["GET"], "/readyz", For::Anyone),
    route(&["GET"], "/metrics", For::Operator),
    route(&["GET", "POST"], "/admin/v1/agents", For::Operator),
    route(&["GET"], "/admin/v1/agents/{id}", For::Operator),
    route(&["POST"], "/admin/v1/agents/{id}/rotate", For::Operator),
    route(&["GET"], "/admin/v1/apps", For::Operator),
    route(&["GET"], "/admin/v1/apps/{id}", For::Operator),
    route(&["POST"], "/admin/v1/apps/{id}/test", For::Operator),
    route(&["GET", "POST"], "/admin/v1/revocations", For::Operator),
    route(&["POST"], "/admin/v1/revocations/resume", For::Operator),
    route(&["GET"], "/admin/v1/breakers", For::Operator),
    route(&["POST"], "/admin/v1/breakers/trip", For::Operator),
    route(&["POST"], "/admin/v1/breakers/reset", For::Operator),
    route(&["GET"], "/admin/v1/delegations", For::Operator),
    route(&["GET"], "/admin/v1/delegations/{id}", For::Operator),
    route(&["GET", "POST"], "/admin/v1/incidents", For::Operator),
    route(&["GET"], "/admin/v1/incidents/{id}", For::Operator),
    route(&["POST"], "/admin/v1/incidents/{id}/close", For::Operator),
    route(&["GET"], "/admin/v1/incidents/{id}/bundle", For::Operator),
    route(&["GET"], "/admin/v1/keys", For::Operator),
    route(&["POST"], "/admin/v1/keys/rotate", For::Operator),
    route(&["POST"], "/admin/v1/keys/vault/rotate", For::Operator),
    route(&["GET"], "/admin/v1/secrets", For::Operator),
    route(&["PUT", "DELETE"], "/admin/v1/secrets/{id}", For::Operator),
    route(&["GET"], "/admin/v1/policies", For::Operator),
    route(&["POST"], "/admin/v1/policies/check", For::Operator),
    route(&["POST"], "/admin/v1/policies/explain", For::Operator),
    route(&["POST"], "/admin/v1/policies/test", For::Operator),
    route(&["POST"], "/admin/v1/policies/applicable", For::Operator),
    route(&["GET"], "/admin/v1/attempts", For::Operator),
    route(&["GET"], "/admin/v1/attempts/{id}", For::Operator),
    route(&["GET"], "/admin/v1/attempts/live", For::Operator),
    route(&["GET"], "/admin/v1/attempts/{id}/trace", For::Operator),
    route(&["GET"], "/admin/v1/workflows/{id}/trace", For::Operator),
    route(&["POST"], "/admin/v1/evidence/verify", For::Operator),
];
