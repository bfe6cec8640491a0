"""An agent acts for a human of a foreign issuer: `users.py RUN_FOLDER NAME`, NAME being `keycloak` or `oidc-provider`.

The folder has agent-a.json, an agent whose tokens the issuer issues to its client `agent-a`, and agent-b.json, another
agent. Alice is one of the issuer's developers, bob is not. Last, alice is revoked, so the gateway serves one run.
"""

import importlib
import sys
import time

import httpx2
import jwt

from dpop import EXCHANGE, TOKEN_TYPE, Bound, Key, Refused, TokenEndpoint, claims_of
from gateway import ISSUER, agent, note, recorded, url_of, vestibule
from report import check

NAME = sys.argv[2]
idp = importlib.import_module(NAME.replace("-", "_"))
APP = url_of("sandbox-http")
# The gateway fetches an issuer's keys at most once in 10 s. The rest is for a busy machine.
ROTATION_MAX_SECONDS = 20


class Agent:
    """An agent with a key, which asks for tokens that act for a human."""

    def __init__(self, name):
        self.name, self.client = name, agent(name)
        self.key, self.endpoint = Key(), TokenEndpoint(ISSUER, note)

    def exchange(self, user_token, kind):
        form = {
            "grant_type": EXCHANGE,
            "subject_token": user_token,
            "subject_token_type": TOKEN_TYPE + kind,
            "resource": APP,
        }
        return self.endpoint.ask(self.key, form, client=self.client)

    def call(self, token, method="GET", **more):
        return httpx2.request(method, f"{APP}/repos", auth=Bound(self.key, token), timeout=30, **more)

    def is_refused(self, user_token, kind, reason):
        """Without a word about the reason to the agent, and with it in the record."""
        since = now()
        try:
            self.exchange(user_token, kind)
        except Refused as refusal:
            assert (refusal.status, refusal.error) == (400, "invalid_request"), refusal
            assert reason not in str(refusal), refusal
        else:
            raise AssertionError("it was exchanged")
        record = recorded("--kind", "token-request", "--agent", self.name, "--since", since)
        assert (record["decision"], record["denial"]) == ("deny", reason), record


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 1))


def login(user, client):
    """What the user gets there; the gateway must keep it to itself."""
    got = idp.login(user, client)
    note(got["id_token"])
    note(got["access_token"])
    return got


def acts_for(agent, user_token, kind):
    """The agent gets a token that says for whom it acts and whose it is, is let in with it, and both are recorded."""
    subject = jwt.decode(user_token, options={"verify_signature": False})["sub"]
    token = agent.exchange(user_token, kind)
    claims = claims_of(token)
    assert claims["sub"] == subject and claims["client_id"] == agent.name, claims
    assert claims["sub_id"] == {"format": "iss_sub", "iss": idp.ISSUER, "sub": subject}, claims
    assert claims["act"]["sub"] == agent.name and claims["cnf"] == {"jkt": agent.key.thumbprint}, claims
    assert claims["vst"]["user"]["groups"] == [f"{NAME}:developers"], claims
    answer = agent.call(token)
    assert answer.status_code == 200 and "hello-world" in answer.text, answer.text
    record = vestibule("audit", "show", answer.headers["x-request-id"])[0]
    assert record["agent"] == agent.name and record["decision"] == "permit", record
    assert record["user"] == {"issuer": idp.ISSUER, "subject": subject}, record
    assert record["key"] == agent.key.thumbprint, record
    assert {"peers.human-look", "sandbox.look"} <= set(record["policies"]), record
    return token


def exchanges(a, alice):
    with check(f"{NAME}: the ID token of a user lets the agent act for them, and the record names both"):
        acts_for(a, alice["id_token"], "id_token")
    with check(f"{NAME}: so does the access token"):
        acts_for(a, alice["access_token"], "access_token")
    with check(f"{NAME}: a user who may not is not let in through an agent that may"):
        answer = a.call(a.exchange(login("bob", "agent-a")["id_token"], "id_token"))
        assert answer.status_code == 404, (answer.status_code, answer.text)
        record = vestibule("audit", "show", answer.headers["x-request-id"])[0]
        assert record["decision"] == "deny" and record["agent"] == a.name and record["user"], record


def refusals(a, b, alice):
    elsewhere = login("alice", "other-app")
    for what, kind in (("ID token", "id_token"), ("access token", "access_token")):
        with check(f"{NAME}: an {what} that was issued to another client is refused, and recorded"):
            a.is_refused(elsewhere[kind], kind, "user-token-not-for-client")
    with check(f"{NAME}: a user's token in the hands of another agent is refused, and recorded"):
        b.is_refused(alice["id_token"], "id_token", "user-token-not-for-client")
    with check(f"{NAME}: neither kind of token passes for the other"):
        a.is_refused(alice["id_token"], "access_token", "user-token-wrong-type")
        a.is_refused(alice["access_token"], "id_token", "user-token-wrong-type")
    with check(f"{NAME}: what the client gets for itself makes no human of it"):
        a.is_refused(idp.service_token("agent-a"), "access_token", "user-token-not-a-user")
    with check(f"{NAME}: an altered token is refused, and recorded"):
        head, _, signature = alice["id_token"].split(".")
        payload = login("bob", "agent-a")["id_token"].split(".")[1]
        a.is_refused(f"{head}.{payload}.{signature}", "id_token", "user-token-signature-invalid")


def rotation(a, alice):
    def kid(token):
        return jwt.get_unverified_header(token["id_token"])["kid"]

    with check(f"{NAME}: a new key of the issuer is followed without a restart, and the old one still counts"):
        idp.rotate()
        fresh = login("alice", "agent-a")
        assert kid(fresh) != kid(alice), "the issuer did not change its key"
        deadline = time.monotonic() + ROTATION_MAX_SECONDS
        while True:
            try:
                a.exchange(fresh["id_token"], "id_token")
                break
            except Refused as refusal:
                assert time.monotonic() < deadline, refusal
                time.sleep(1)
        a.exchange(alice["id_token"], "id_token")


def revocation(a):
    alice = login("alice", "agent-a")
    subject = claims_of(alice["id_token"])["sub"]
    with check(f"{NAME}: once the user is revoked, the next call and the next exchange are refused"):
        token = acts_for(a, alice["id_token"], "id_token")
        name = f"{idp.ISSUER}#{subject}"
        [report] = vestibule("revoke", "user", name)
        assert (report["kind"], report["id"]) == ("user", name), report
        answer = a.call(token)
        assert answer.status_code == 401, (answer.status_code, answer.text)
        assert 'error="invalid_token"' in answer.headers["www-authenticate"], answer.headers
        record = vestibule("audit", "show", answer.headers["x-request-id"])[0]
        assert record["denial"] == "user-revoked", record
        for got in (alice, login("alice", "agent-a")):
            for kind in ("id_token", "access_token"):
                try:
                    a.exchange(got[kind], kind)
                except Refused:
                    continue
                raise AssertionError(f"the {kind} was exchanged after the revocation")
        record = recorded("--kind", "token-request", "--agent", a.name)
        assert record["denial"] == "user-revoked", record
    with check(f"{NAME}: that stops the user, and neither the agent nor another user"):
        form = {"grant_type": "client_credentials", "resource": APP}
        answer = a.call(a.endpoint.ask(a.key, form, client=a.client))
        assert answer.status_code == 200, (answer.status_code, answer.text)
        a.exchange(login("bob", "agent-a")["id_token"], "id_token")


def main():
    a, b = Agent("agent-a"), Agent("agent-b")
    with check(f"{NAME}: a user logs in"):
        alice = login("alice", "agent-a")
    exchanges(a, alice)
    refusals(a, b, alice)
    rotation(a, alice)
    revocation(a)


main()
