#!/usr/bin/env bash
# Runs foreign MCP clients against the gateway, with a foreign server behind it. See README.md.
#   VESTIBULE_BIN=path/to/vestibule tests/peers/run.sh [FOLDER]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$here/keycloak.sh"
source "$here/zitadel.sh"

parts() {
  prepare_keycloak
  prepare_zitadel
  with_python_sdk run_python_sdk
  run_inspector
  run_openid_client
  with_python_sdk run_spawned
  with_python_sdk run_oidc_provider
  with_python_sdk run_zitadel
  # Longer than a token lives.
  with_python_sdk run_long_session 75
  with_python_sdk run_keycloak
}

run_python_sdk() {
  node "$here/client_key.mjs" "$run/key.pem" "$run/jwks.json"
  add_agent peer-key --group quickstart --jwks "$run/jwks.json"
  run_checks python-sdk "$python" "$here/sdk_client.py" "$run"
}

# A module is looked for beside the script that wants it.
run_openid_client() {
  cp "$here/openid_client.mjs" "$work/npm"
  run_checks openid-client node "$work/npm/openid_client.mjs" "$run"
}

run_spawned() {
  add_agent parent --group sandbox-agents --trust 1 --scope repo
  run_checks spawned "$python" "$here/spawned.py" "$run"
}

run_oidc_provider() {
  cp "$here/idp.mjs" "$here/exchange.mjs" "$work/npm"
  node "$work/npm/idp.mjs" "${OIDC_PROVIDER_ISSUER##*:}" "$(json "$run/quickstart.json" issuer)" \
    >"$run/oidc-provider.out" 2>"$run/oidc-provider.err" &
  pids+=($!)
  first_line "$run/oidc-provider.out" "oidc-provider" $!
  run_upstream oidc-provider
  run_users oidc-provider
}

# run_users ISSUER: an agent acts for the issuer's humans. Last, for it has one of them revoked.
run_users() {
  add_agents
  run_checks "$1" "$python" "$here/users.py" "$run" "$1"
}

# run_upstream ISSUER: applications want tokens of the issuer.
run_upstream() {
  add_agents
  run_checks "$1-upstream" "$python" "$here/upstream.py" "$run" "$1"
}

add_agents() {
  local agent
  for agent in agent-a agent-b; do
    [ -e "$run/$agent.json" ] || add_agent "$agent" --group sandbox-agents --trust 1 --scope repo
  done
}

run_inspector() {
  check "inspector lists the tools" shows '"name": "echo"' inspect --method tools/list --header "$(bearer)"
  check "inspector calls a tool" shows '"text": "Echo: through the gateway"' inspect --method tools/call \
    --tool-name echo --tool-arg "message=through the gateway" --header "$(bearer)"
  check "inspector reads a resource" shows "Resource 7" inspect --method resources/read \
    --uri demo://resource/dynamic/text/7 --header "$(bearer)"
  check "inspector without a token is refused" refused inspect --method tools/list
  check "inspector with an altered token is refused" refused inspect --method tools/list --header "$(bearer)x"
}

# A token lives for a minute: each call gets its own.
bearer() {
  local token
  token=$(python3 "$here/fetch_token.py" "$run/quickstart.json") && echo "$token" >>"$run/tokens"
  echo "Authorization: Bearer $token"
}

# Its settings go to the run's folder, not to the user's.
inspect() {
  local url
  url=$(json "$run/quickstart.json" 'apps[everything].url')
  HOME=$run timeout 60 "$npm_bin/mcp-inspector" --cli "$url" --transport http "$@"
}

# shows TEXT COMMAND…: the command succeeds and its output has the text.
shows() {
  local text=$1 output
  shift
  output=$("$@") && grep --fixed-strings --quiet -- "$text" <<<"$output" || { echo "$output" && return 1; }
}

# refused COMMAND…: the inspector fails for want of a credential, and the application hears nothing of it.
refused() {
  local before
  before=$(wc -l <"$run/recording")
  ! "$@" >"$run/refusal" 2>&1 || return 1
  cat "$run/refusal"
  grep --quiet '"code":"auth_required"' "$run/refusal" && [ "$(wc -l <"$run/recording")" = "$before" ]
}

run_peers "${1:-}"
