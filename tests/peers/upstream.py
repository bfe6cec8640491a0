"""Applications that want tokens of a foreign issuer: `upstream.py RUN_FOLDER NAME`, NAME being `oidc-provider`, `zitadel` or
`keycloak`.

Alice logs in at the issuer, agent-a acts for her, and spawns an agent that spawns one, and so on: a chain of four. Where a
call of theirs arrives, resource_server.mjs looks at the token as the issuer has it done, and writes down whom it names.
"""

import importlib
import json
import sys
import time

import httpx2

from dpop import EXCHANGE, TOKEN_TYPE, Bound, Key, Refused, TokenEndpoint, claims_of
from gateway import ISSUER, RUN, agent, note, recorded, url_of, vestibule
from report import check

NAME = sys.argv[2]
idp = importlib.import_module(NAME.replace("-", "_"))
AGENTS = 4
# From the order to the last token that is given back: for a busy machine.
GIVEN_BACK_MAX_SECONDS = 15
KEYS_MAX_SECONDS = 20


class Family:
    """A chain of agents that acts for a user at one application."""

    def __init__(self, app, user_token, agents=AGENTS):
        self.app, self.url = app, resource(app)
        self.keys = [Key() for _ in range(agents)]
        self.names = ["agent-a", *(key.agent for key in self.keys[1:])]
        self.endpoint = TokenEndpoint(ISSUER, note)
        form = {
            "grant_type": EXCHANGE,
            "subject_token": user_token,
            "subject_token_type": TOKEN_TYPE + "access_token",
            "resource": self.url,
        }
        self.tokens = [self.endpoint.ask(self.keys[0], form, client=agent("agent-a"))]
        for parent, child in zip(self.keys, self.keys[1:]):
            self.tokens.append(self.endpoint.spawn(parent, self.tokens[-1], child, ISSUER))

    def call(self, number):
        """A call of the agent with that number, the root being 0."""
        auth = Bound(self.keys[number], self.tokens[number])
        return httpx2.get(f"{self.url}/look", auth=auth, timeout=30)

    def arrives(self, number):
        """The token that the application gets, and what it says."""
        answer = self.call(number)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        got = last_seen(self.app)
        assert got["token"] not in (RUN / "tokens").read_text(), "the application got a token of a client"
        return got["token"], got["claims"]


def resource(app):
    """Of applications in the configuration quickstart says nothing."""
    return url_of("sandbox-http").replace("sandbox-http", app)


def seen(app):
    entries = (json.loads(line) for line in (RUN / "resource-server").read_text().splitlines())
    return [entry for entry in entries if entry["app"] == app]


def last_seen(app):
    found = seen(app)
    assert found, f"{app} was not called"
    assert "claims" in found[-1], found[-1]
    return found[-1]


def actors(claims):
    """Who acts, the root first; and every one of them in the namespace that the gateway gives names in."""
    found, act = [], claims.get("act")
    while act:
        assert act["iss"] == ISSUER, act
        found.insert(0, act["sub"])
        act = act.get("act")
    return found


def chain_arrives(app, user):
    family = Family(app, user["access_token"])
    with check(f"{NAME}, {app}: the token of a chain of {AGENTS} names the user and the agents in order"):
        _, claims = family.arrives(AGENTS - 1)
        assert claims["sub"] == claims_of(user["access_token"])["sub"], claims
        assert actors(claims) == family.names, (claims, family.names)
        record = recorded("--agent", family.names[-1], "--operation", "look")
        assert [link["agent"] for link in record["chain"]] == family.names, record
        assert (record["access"]["strategy"], record["access"]["server"]) == ("token-exchange", NAME), record
        assert record["access"]["wider"] == [], record
    with check(f"{NAME}, {app}: each agent of the chain has a token of its own, which names those above it only"):
        for number in range(AGENTS):
            assert actors(family.arrives(number)[1]) == family.names[: number + 1], last_seen(app)
    with check(f"{NAME}, {app}: a second call uses the same token"):
        before = family.arrives(AGENTS - 1)[0]
        assert family.arrives(AGENTS - 1)[0] == before


def believes_nobody_else(user, token_url):
    """Without this the names in `act` would be anybody's word."""
    with check(f"{NAME}: takes nobody's word about agents but the gateway's"):
        now, forger = int(time.time()), Key()
        claims = {"iss": ISSUER, "sub": "agent-a", "aud": idp.ISSUER, "iat": now, "exp": now + 60, "jti": str(now)}
        kid = httpx2.get(f"{ISSUER}/oauth/jwks", timeout=30).json()["keys"][0]["kid"]
        for forged in (forger.sign("JWT", claims, kid=kid), forger.sign("JWT", claims | {"iss": forger.agent}), "x"):
            form = {
                "grant_type": EXCHANGE,
                "subject_token": user["access_token"],
                "subject_token_type": TOKEN_TYPE + "access_token",
                "actor_token": forged,
                "actor_token_type": TOKEN_TYPE + "jwt",
                "resource": "https://jwt.example.test",
            }
            answer = httpx2.post(token_url, data=form, auth=("gateway", "gateway"), timeout=30)
            assert answer.status_code == 400 and "actor_token" in answer.text, (answer.status_code, answer.text)


def revocation(user):
    app = "op-opaque"
    family = Family(app, user["access_token"])
    with check(f"{NAME}, {app}: revoking the second agent gives back its token and those below, and no other"):
        tokens = [family.arrives(number)[0] for number in range(AGENTS)]
        assert [is_active(token) for token in tokens] == [True] * AGENTS
        vestibule("revoke", "delegation", claims_of(family.tokens[1])["vst"]["node"])
        wait_until(lambda: [is_active(token) for token in tokens] == [True, False, False, False])
    with check(f"{NAME}, {app}: the record says whose tokens were given back"):
        acts = ("--kind", "administration")
        wait_until(lambda: recorded(*acts)["action"] == "tokens-give-back")
        record = recorded(*acts)
        assert record["target"] == f"authorization-server/{NAME}" and record["outcome"] == "completed", record
        whose = sorted(f"{app}: {name}" for name in family.names[1:])
        assert json.loads(record["detail"]) == {"tokens": 3, "given_back": 3, "of": whose}, record
    with check(f"{NAME}, {app}: they are refused at the gateway, and the first agent goes on"):
        before = len(seen(app))
        assert [family.call(number).status_code for number in (1, 2, 3)] == [401] * 3
        assert len(seen(app)) == before, "the application was called"
        assert family.arrives(0)[0] == tokens[0]


def wait_until(is_so):
    deadline = time.monotonic() + GIVEN_BACK_MAX_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, f"not within {GIVEN_BACK_MAX_SECONDS} s"
        time.sleep(0.2)


def is_active(token):
    url = f"{idp.ISSUER}/token/introspection"
    answer = httpx2.post(url, data={"token": token}, auth=("application", "application"), timeout=30)
    return answer.raise_for_status().json()["active"]


def door_one(app, user, sees):
    """The issuer's access token opens an application as it is."""
    url = f"{resource(app)}/look"

    def call(token):
        return httpx2.get(url, headers={"authorization": f"Bearer {token}"}, timeout=30)

    with check(f"{NAME}, {app}: an access token of the issuer opens it, and the record names agent and user"):
        answer = call(user["access_token"])
        assert answer.status_code == 200, (answer.status_code, answer.text)
        got = last_seen(app)
        subject = claims_of(user["access_token"])["sub"]
        assert got["token"] != user["access_token"] and got["claims"]["sub"] == subject, got
        assert actors(got["claims"]) == sees, got
        record = vestibule("audit", "show", answer.headers["x-request-id"])[0]
        assert record["agent"] == "agent-a" and record["decision"] == "permit", record
        assert record["user"] == {"issuer": idp.ISSUER, "subject": subject}, record
    with check(f"{NAME}, {app}: that of another client, an ID token and an altered one do not"):
        head, payload, signature = user["access_token"].split(".")
        altered = f"{head}.{payload}.{signature[::-1]}"
        before = len(seen(app))
        for token in (login("alice", "other-app")["access_token"], user["id_token"], altered):
            answer = call(token)
            assert answer.status_code == 401, (answer.status_code, answer.text)
        assert len(seen(app)) == before, "the application was called"


def keycloak(user):
    subject = claims_of(user["access_token"])["sub"]
    with check(f"{NAME}: the gateway proves itself by a key, and gets a token of its own"):
        _, claims = Family("keycloak-own", user["access_token"]).arrives(0)
        assert claims["azp"] == "gateway" and claims["sub"] != subject, claims
    with check(f"{NAME}: the user's token is exchanged for one of theirs for the application"):
        _, claims = Family("keycloak-user", user["access_token"]).arrives(AGENTS - 1)
        assert (claims["sub"], claims["azp"], claims["aud"]) == (subject, "gateway", "orders"), claims
    with check(f"{NAME}: it answers 200 and ignores the agent: that token is not used, and the record says why"):
        family = Family("keycloak-actor", user["access_token"])
        answer = family.call(AGENTS - 1)
        assert answer.status_code == 502, (answer.status_code, answer.text)
        assert seen("keycloak-actor") == [], "the application was called"
        record = vestibule("audit", "show", answer.headers["x-request-id"])[0]
        assert "without `act`" in json.dumps(record), record
    with check(f"{NAME}: our word about the user gets a token of theirs (RFC 7523)"):
        _, claims = Family("keycloak-word", user["access_token"]).arrives(AGENTS - 1)
        assert (claims["sub"], claims["azp"]) == (subject, "gateway"), claims
    door_one("keycloak-user", user, [])


def login(user, client):
    got = idp.login(user, client)
    note(got["id_token"])
    note(got["access_token"])
    return got


def wait_for_keys(user):
    """The issuer has begun just now, and the gateway asks for keys at most once in 10 s."""
    deadline = time.monotonic() + KEYS_MAX_SECONDS
    while True:
        try:
            Family("keycloak-own", user["access_token"], agents=1)
            return
        except Refused as refusal:
            assert refusal.status == 503 and time.monotonic() < deadline, refusal
            time.sleep(0.5)


def main():
    user = login("alice", "agent-a")
    wait_for_keys(user)
    if NAME == "keycloak":
        keycloak(user)
    elif NAME == "zitadel":
        chain_arrives("zitadel", user)
        believes_nobody_else(user, f"{idp.ISSUER}oauth/token")
    else:
        for app in ("op-opaque", "op-jwt", "op-word"):
            chain_arrives(app, user)
        believes_nobody_else(user, f"{idp.ISSUER}/token")
        revocation(user)
        door_one("op-opaque", user, ["agent-a"])


main()
