"""Prints a token for the application `everything`: `fetch_token.py QUICKSTART_JSON`.

For clients that take a token instead of getting one. Client credentials (RFC 6749 §4.4) by HTTP Basic, for the
application's resource identifier (RFC 8707).
"""

import base64
import json
import sys
import urllib.parse
import urllib.request


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        quickstart = json.loads(file.readline())
    agent = quickstart["agents"][0]
    resource = next(app["url"] for app in quickstart["apps"] if app["id"] == "everything")
    with urllib.request.urlopen(f"{quickstart['issuer']}/.well-known/oauth-authorization-server") as answer:
        endpoint = json.load(answer)["token_endpoint"]
    # RFC 6749 §2.3.1: both parts are form-encoded before they are joined.
    pair = ":".join(urllib.parse.quote(agent[part], safe="") for part in ("client_id", "client_secret"))
    request = urllib.request.Request(
        endpoint,
        urllib.parse.urlencode({"grant_type": "client_credentials", "resource": resource}).encode(),
        {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()},
    )
    with urllib.request.urlopen(request) as answer:
        print(json.load(answer)["access_token"])


main()
