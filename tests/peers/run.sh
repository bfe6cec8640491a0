#!/usr/bin/env bash
# Runs foreign MCP clients against the gateway, with a foreign server behind it. See README.md.
#   VESTIBULE_BIN=path/to/vestibule tests/peers/run.sh [FOLDER]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

parts() {
  with_python_sdk run_python_sdk
  run_inspector
  # Longer than a token lives.
  with_python_sdk run_long_session 75
}

run_python_sdk() {
  "$python" "$here/client_key.py" "$run/key.pem" "$run/jwks.json"
  "$bin" agent add peer-key --group quickstart --jwks "$run/jwks.json" --output json --dir "$run/gateway" \
    >"$run/peer-key.json" || fail "agent add: exit code $?"
  run_checks python-sdk "$python" "$here/sdk_client.py" "$run"
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
