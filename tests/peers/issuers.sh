# The issuers by others as the gateway's configuration has them: of users, and of tokens for applications. They need not
# run: they are asked when somebody comes with a token of theirs, or needs one.
# Sourced, not run.

# name_issuers: chooses where they will be, and starts the applications that believe them.
name_issuers() {
  export KEYCLOAK_ISSUER OIDC_PROVIDER_ISSUER ZITADEL_ISSUER
  KEYCLOAK_ISSUER=http://127.0.0.1:$(free_port)/realms/peers
  OIDC_PROVIDER_ISSUER=http://127.0.0.1:$(free_port)
  ZITADEL_ISSUER=http://127.0.0.1:$(free_port)/
  cp "$here/resource_server.mjs" "$work/npm"
  node "$work/npm/resource_server.mjs" "$run/resource-server" >"$run/resource-server.json" 2>"$run/resource-server.log" &
  pids+=($!)
  first_line "$run/resource-server.json" "the resource server" $!
  : >"$run/resource-server"
}

# issuers_yaml: within `user_issuers`.
issuers_yaml() {
  cat <<YAML
  keycloak:
    issuer: $KEYCLOAK_ISSUER
    agents: { agent-a: [agent-a] }
    groups: { claim: /realm_access/roles, only: [developers] }
    access_token_types: [jwt]
    callers: { preset: keycloak, audiences: [gateway] }
  oidc-provider:
    issuer: $OIDC_PROVIDER_ISSUER
    agents: { agent-a: [agent-a] }
    groups: { claim: groups, only: [developers] }
    access_token_types: [at-jwt]
    callers: { audiences: [https://agents.example.test] }
  zitadel:
    issuer: $ZITADEL_ISSUER
    agents: { agent-a: [agent-a] }
    access_token_types: [jwt]
YAML
}

# servers_yaml FOLDER: the section `authorization_servers`; the gateway's credentials go to FOLDER.
servers_yaml() {
  (umask 077 && echo gateway >"$1/upstream.secret")
  node "$here/client_key.mjs" "$1/upstream.pem" "$run/gateway-jwks.json"
  cat <<YAML
authorization_servers:
  oidc-provider:
    issuer: $OIDC_PROVIDER_ISSUER
    client_id: gateway
    auth: { secret-basic: { secret: { file: upstream.secret } } }
  zitadel:
    issuer: $ZITADEL_ISSUER
    client_id: gateway
    auth: { secret-basic: { secret: { file: upstream.secret } } }
  keycloak:
    issuer: $KEYCLOAK_ISSUER
    client_id: gateway
    auth: { private-key-jwt: { key: { file: upstream.pem }, algorithm: ES256, kid: peer } }
YAML
}

# upstreams_yaml: within `apps`, the applications that want tokens of those servers.
upstreams_yaml() {
  local opaque=https://opaque.example.test jwt=https://jwt.example.test
  upstream_yaml op-opaque "token-exchange: { server: oidc-provider, subject: user-token, actor: chain,
        resource: $opaque, scopes: { default: [look] }, check: introspection }"
  upstream_yaml op-jwt "token-exchange: { server: oidc-provider, subject: user-token, actor: chain,
        resource: $jwt, scopes: { default: [look] } }"
  upstream_yaml op-word "token-exchange: { server: oidc-provider, subject: assertion, actor: chain,
        resource: $jwt, scopes: { default: [look] } }"
  upstream_yaml zitadel "token-exchange: { server: zitadel, subject: user-token, actor: chain,
        audience: orders, scopes: { default: [openid] } }"
  upstream_yaml keycloak-own "client-credentials: { server: keycloak }"
  upstream_yaml keycloak-user "token-exchange: { server: keycloak, subject: user-token, actor: none, audience: orders }"
  upstream_yaml keycloak-actor "token-exchange: { server: keycloak, subject: user-token, actor: agent, audience: orders }"
  upstream_yaml keycloak-word "jwt-bearer: { server: keycloak }"
}

# upstream_yaml APP ACCESS
upstream_yaml() {
  cat <<YAML
  $1:
    http:
      url: $(json "$run/resource-server.json" url)/$1
      access: { $2 }
      operations: { routes: { look: { route: GET /look, effect: read } } }
YAML
}
