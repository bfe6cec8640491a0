# An OpenID provider of zitadel/oidc's, a Go library. Building it takes 15 s once, beside other checks.
# Sourced, not run.

ZITADEL_BUILD_SECONDS=180

# Begins to build it.
prepare_zitadel() {
  (build_zitadel) >"$run/zitadel-build.log" 2>&1 &
  zitadel_pid=$!
  pids+=("$zitadel_pid")
}

# Go decides what is to be done; it knows what it has.
build_zitadel() {
  command -v go || { echo "needs go" >"$run/zitadel.skipped" && return; }
  trap 'kill $(jobs -p) 2>/dev/null; exit 1' TERM
  GOTOOLCHAIN=local GOFLAGS=-buildvcs=false nice -n 10 timeout "$ZITADEL_BUILD_SECONDS" \
    go build -C "$here/zitadel" -o "$work/zitadel" . &
  wait $! || echo "it cannot be built, see $run/zitadel-build.log" >"$run/zitadel.skipped"
}

run_zitadel() {
  wait "$zitadel_pid" || true
  if [ -e "$run/zitadel.skipped" ]; then
    skip zitadel "$(cat "$run/zitadel.skipped")"
    return
  fi
  local gateway port=${ZITADEL_ISSUER##*:}
  gateway=$(json "$run/quickstart.json" issuer)
  "$work/zitadel" "${port%/}" "$gateway" "$gateway/oauth/jwks" >"$run/zitadel.out" 2>"$run/zitadel.err" &
  pids+=($!)
  first_line "$run/zitadel.out" "zitadel" $!
  run_upstream zitadel
}
