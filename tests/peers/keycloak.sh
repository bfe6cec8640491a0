# Keycloak, from Maven. Installing it takes a minute on two free cores and starting it 15 to 60 s, so both happen beside
# other checks.
# Sourced, not run.

KEYCLOAK=26.7.3
KEYCLOAK_FETCH_SECONDS=180 # 176 MB
KEYCLOAK_START_SECONDS=240 # on two cores, beside other checks

# Begins to install and to start it.
prepare_keycloak() {
  keycloak=$work/keycloak-$KEYCLOAK-grants
  export KEYCLOAK_PASSWORD
  KEYCLOAK_PASSWORD=$(python3 -c 'import secrets; print(secrets.token_urlsafe())')
  if ! command -v mvn >>"$run/keycloak-server.log" || ! command -v java >>"$run/keycloak-server.log"; then
    echo "needs mvn and java" >"$run/keycloak.skipped"
    return
  fi
  (install_keycloak && exec_keycloak) >>"$run/keycloak-server.log" 2>&1 &
  keycloak_pid=$!
  pids+=("$keycloak_pid")
}

install_keycloak() {
  local artifact=keycloak-quarkus-dist
  trap 'kill $(jobs -p) 2>/dev/null; exit 1' TERM
  [ -e "$keycloak/installed" ] && return
  rm -rf "$keycloak" && mkdir -p "$keycloak" || return
  run_nicely timeout "$KEYCLOAK_FETCH_SECONDS" mvn -q -B dependency:copy \
    "-Dartifact=org.keycloak:$artifact:$KEYCLOAK:tar.gz" "-DoutputDirectory=$keycloak" || {
    echo "Maven does not have $artifact:$KEYCLOAK within $KEYCLOAK_FETCH_SECONDS s" >"$run/keycloak.skipped"
    return 1
  }
  tar -C "$keycloak" --strip-components=1 -xzf "$keycloak/$artifact-$KEYCLOAK.tar.gz" &&
    rm "$keycloak/$artifact-$KEYCLOAK.tar.gz" &&
    run_nicely "$keycloak/bin/kc.sh" build --db=dev-mem --cache=local --features=jwt-authorization-grant &&
    touch "$keycloak/installed" && return
  echo "it cannot be installed, see $run/keycloak-server.log" >"$run/keycloak.skipped"
  return 1
}

# What measures times here must not wait for it.
run_nicely() {
  nice -n 10 "$@" &
  wait $!
}

# Its state is in memory: each start is the first.
exec_keycloak() {
  mkdir -p "$keycloak/data/import" && realm >"$keycloak/data/import/peers-realm.json"
  local base=${KEYCLOAK_ISSUER%/realms/*}
  export KC_BOOTSTRAP_ADMIN_USERNAME=admin KC_BOOTSTRAP_ADMIN_PASSWORD=$KEYCLOAK_PASSWORD
  export JAVA_OPTS_KC_HEAP='-Xms64m -Xmx512m' JAVA_OPTS_APPEND=-XX:TieredStopAtLevel=1
  exec nice -n 10 "$keycloak/bin/kc.sh" start --optimized --cache=local --http-enabled=true \
    --http-host=127.0.0.1 --http-port="${base##*:}" --hostname="$base" --import-realm
}

# realm: the realm, in which the gateway is a client with a key, and somebody whose word is taken.
realm() {
  python3 - "$here/peers-realm.json" "$run/gateway-jwks.json" "$(json "$run/quickstart.json" issuer)" <<'PYTHON'
import json, sys
realm, jwks = (open(name).read() for name in sys.argv[1:3])
print(realm.replace('"GATEWAY_CLIENT_JWKS"', json.dumps(jwks)).replace("GATEWAY_ISSUER", sys.argv[3]))
PYTHON
}

run_keycloak() {
  local since=$SECONDS
  until [ -e "$run/keycloak.skipped" ] || answers "$KEYCLOAK_ISSUER"; do
    if ! kill -0 "$keycloak_pid" 2>/dev/null && [ ! -e "$run/keycloak.skipped" ]; then
      fail "keycloak: it ended, see $run/keycloak-server.log"
      return
    elif [ "$((SECONDS - since))" -ge "$KEYCLOAK_START_SECONDS" ]; then
      echo "it does not answer within $KEYCLOAK_START_SECONDS s, see $run/keycloak-server.log" >"$run/keycloak.skipped"
    fi
    sleep 0.5
  done
  if [ -e "$run/keycloak.skipped" ]; then
    skip keycloak "$(cat "$run/keycloak.skipped")"
  else
    run_upstream keycloak
    run_users keycloak
  fi
}

answers() {
  python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)' "$1" 2>/dev/null
}
