//! The applications, and how each is called.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
};

use serde_json::json;
use vestibule_testkit::{Issue, TestAuthorizationServer, TestIssuer, TestUpstream};

pub(super) const AGENTS: u64 = 50;
pub(super) const USERS: u64 = 50;
/// How long a delegation lives, in seconds.
pub(super) const DELEGATION_SECONDS: u64 = 1_800;

pub(super) const POLICIES: &str = r#"
@id("agents") permit (principal in AgentGroup::"testers", action in Action::"call", resource);
@id("users") permit (principal in UserGroup::"idp:developers", action in Action::"call", resource);
"#;

/// Whose a token is that a server gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// All callers'.
    Everybodys,
    /// The agent's.
    Agents,
    /// The delegation's; with the user's own token it can be had only as long as that lives.
    Delegations { by_users_token: bool },
}

/// What the application is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    Secret { header: &'static str, prefix: &'static str },
    Token { server: Server, whose: Whose },
    Signed { header: &'static str, prefix: &'static str, request: &'static str },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Server {
    /// The users' own, which takes tokens back.
    Idp,
    /// Takes tokens back.
    Corp,
    /// Does not: what it gave is not kept over a restart.
    Partner,
}

pub(super) const SERVERS: [Server; 3] = [Server::Idp, Server::Corp, Server::Partner];

pub(super) struct App {
    pub(super) name: &'static str,
    pub(super) shown: Shown,
    access: &'static str,
}

const fn app(name: &'static str, shown: Shown, access: &'static str) -> App {
    App { name, shown, access }
}

const fn token(server: Server, whose: Whose) -> Shown {
    Shown::Token { server, whose }
}

const NODES: Whose = Whose::Delegations { by_users_token: false };
const SCOPES: &str = "{ default: [read], operations: { put: [write] } }";

pub(super) const APPS: [App; 10] = [
    app(
        "bearer",
        Shown::Secret { header: "authorization", prefix: "Bearer " },
        "{ static: { bearer: { token: { file: bearer } } } }",
    ),
    app(
        "header",
        Shown::Secret { header: "x-api-key", prefix: "" },
        "{ static: { header: { name: X-Api-Key, value: { file: header } } } }",
    ),
    app(
        "shared",
        token(Server::Corp, Whose::Everybodys),
        "{ client-credentials: { server: corp, audience: shared, scopes: SCOPES } }",
    ),
    app(
        "each",
        token(Server::Corp, Whose::Agents),
        "{ client-credentials: { server: corp, audience: each, scopes: SCOPES, per: agent } }",
    ),
    app(
        "abroad",
        token(Server::Partner, Whose::Agents),
        "{ client-credentials: { server: partner, audience: abroad, scopes: SCOPES, per: agent } }",
    ),
    app(
        "chain",
        token(Server::Corp, NODES),
        "{ token-exchange: { server: corp, subject: assertion, actor: chain, audience: chain, scopes: SCOPES } }",
    ),
    app(
        "own",
        token(Server::Idp, Whose::Delegations { by_users_token: true }),
        "{ token-exchange: { server: idp, subject: user-token, subject_token_type: id-token, actor: agent, audience: own, scopes: SCOPES } }",
    ),
    app(
        "word",
        token(Server::Partner, NODES),
        "{ jwt-bearer: { server: partner, audience: word, scopes: SCOPES } }",
    ),
    app(
        "signed",
        Shown::Signed { header: "x-caller", prefix: "", request: "vst_op" },
        "{ assertion: { audience: signed, header: X-Caller } }",
    ),
    app(
        "domain",
        Shown::Signed { header: "txn-token", prefix: "", request: "tctx" },
        "{ txn-token: { trust_domain: domain } }",
    ),
];

/// Who gives tokens.
pub(super) struct Town {
    pub(super) upstream: TestUpstream,
    pub(super) users: TestIssuer,
    pub(super) idp: TestAuthorizationServer,
    pub(super) corp: TestAuthorizationServer,
    pub(super) partner: TestAuthorizationServer,
}

impl Town {
    pub(super) fn server(&self, server: Server) -> &TestAuthorizationServer {
        match server {
            Server::Idp => &self.idp,
            Server::Corp => &self.corp,
            Server::Partner => &self.partner,
        }
    }

    pub(super) fn config(&self) -> String {
        let clients: serde_json::Map<_, _> =
            (0..AGENTS).map(|agent| (agent_name(agent), json!([client_of(agent)]))).collect();
        let users = json!({ "idp": {
            "issuer": self.idp.issuer(), "jwks_url": self.users.jwks_url(), "agents": clients,
            "groups": { "claim": "groups" },
        } });
        let auth = "client_id: gateway, auth: { secret-basic: { secret: { file: client } } }";
        let apps: String = APPS
            .iter()
            .map(|app| {
                let (name, at) = (app.name, self.upstream.url());
                let access = app.access.replace("SCOPES", SCOPES);
                let routes = "{ look: { route: GET /look, query: { n: {} } }, put: { route: PUT /it, query: { n: {} } } }";
                format!("  {name}: {{ http: {{ url: '{at}/{name}', access: {access}, operations: {{ routes: {routes} }} }} }}\n")
            })
            .collect();
        format!(
            "user_issuers: {users}
tokens: {{ ttl_seconds: 300, delegation_ttl_seconds: {DELEGATION_SECONDS} }}
authorization_servers:
  idp: {{ issuer: '{}', {auth} }}
  corp: {{ issuer: '{}', {auth} }}
  partner: {{ token_url: '{}/token', {auth} }}
apps:
{apps}",
            self.idp.issuer(),
            self.corp.issuer(),
            self.partner.issuer(),
        )
    }
}

pub(super) fn agent_name(agent: u64) -> String {
    format!("agent-{agent}")
}

pub(super) fn user_name(user: u64) -> String {
    format!("user-{user}")
}

pub(super) fn client_of(agent: u64) -> String {
    format!("client-{agent}")
}

/// How long a token lives, in seconds: from the names in it, so that whoever knows for whom it is knows how long.
pub(super) fn life_of(subject: &str, audience: &str, scope: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (subject, audience, scope).hash(&mut hasher);
    600 + hasher.finish() % 400
}

/// Gives each token its life.
pub(super) fn with_life(issue: &mut Issue) {
    let claim = |name: &str| issue.claims[name].as_str().unwrap_or_default().to_owned();
    issue.answer["expires_in"] = json!(life_of(&claim("sub"), &claim("aud"), &claim("scope")));
}
