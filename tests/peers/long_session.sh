#!/usr/bin/env bash
# A session and a stream that outlive their tokens, of a foreign client. See README.md.
#   VESTIBULE_BIN=path/to/vestibule tests/peers/long_session.sh [SECONDS [FOLDER]]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

duration=${1:-600}

parts() {
  with_python_sdk run_long_session "$duration"
}

run_peers "${2:-}"
