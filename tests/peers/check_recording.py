"""What reached the application: `check_recording.py RECORDING TOKENS`, each with an entry a line.

MCP forbids token passthrough: the application must never see the token with which a client came in, wherever in
the request it stands.
"""

import json
import sys
from pathlib import Path

from report import check


def main():
    recording, tokens = (Path(name).read_text().splitlines() for name in sys.argv[1:3])
    requests = [json.loads(line) for line in recording]

    with check("recording has the calls and the tokens it is searched for"):
        assert any('"tools/call"' in request["body"] for request in requests), "no tools/call was recorded"
        assert len(tokens) > 0 and all(len(token) > 20 for token in tokens), "no token was noted"
    with check("application saw no token of a client"):
        leaks = [request for request in requests if any(token in json.dumps(request) for token in tokens)]
        assert not leaks, f"{len(leaks)} requests, the first {leaks[0]['method']} {leaks[0]['path']}"
    with check("application without a credential of its own saw no Authorization header"):
        names = {name.lower() for request in requests for name, _ in request["headers"]}
        found = names & {"authorization", "proxy-authorization", "cookie", "dpop"}
        assert not found, found


main()
