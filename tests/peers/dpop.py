"""An agent with a key of its own, which it proves with every request (DPoP, RFC 9449). The gateway demands a nonce."""

import base64
import hashlib
import json
import time
import uuid

import httpx2
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

TOKEN_TYPE = "urn:ietf:params:oauth:token-type:"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


class Key:
    def __init__(self):
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.jwk = ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        # RFC 7638: the required members in order, without white space.
        members = {name: self.jwk[name] for name in ("crv", "kty", "x", "y")}
        self.thumbprint = sha256(json.dumps(members, separators=(",", ":")))

    @property
    def agent(self):
        """Who has this key, if nobody has registered it (RFC 9278)."""
        return f"urn:ietf:params:oauth:jwk-thumbprint:sha-256:{self.thumbprint}"

    def sign(self, typ, claims, **header):
        # PyJWT writes `typ` itself unless it is given.
        return jwt.encode(claims, self.private, "ES256", headers={"typ": typ, **header})

    def proof(self, method, url, nonce=None, token=None):
        claims = {"jti": str(uuid.uuid4()), "htm": method, "htu": url, "iat": int(time.time())}
        if nonce:
            claims["nonce"] = nonce
        if token:
            claims["ath"] = sha256(token)
        return self.sign("dpop+jwt", claims, jwk=self.jwk)

    def actor_token(self, issuer, parent_token):
        """What a child signs to be spawned by whoever holds `parent_token`."""
        now = int(time.time())
        claims = {
            "iss": self.agent,
            "sub": self.agent,
            "aud": issuer,
            "iat": now,
            "exp": now + 60,
            "jti": str(uuid.uuid4()),
            "cnf": {"jwk": self.jwk},
            "sth": sha256(parent_token),
        }
        return self.sign("vst-actor+jwt", claims)


class Bound(httpx2.Auth):
    """Presents a token that is bound to the key."""

    def __init__(self, key, token):
        self.key, self.token, self.nonce = key, token, None

    def auth_flow(self, request):
        # RFC 9449 §9: a first answer may only say which nonce to use; any answer may bring the next one.
        for _ in range(2):
            request.headers["authorization"] = f"DPoP {self.token}"
            url = str(request.url.copy_with(query=None, fragment=None))
            request.headers["dpop"] = self.key.proof(request.method, url, self.nonce, self.token)
            answer = yield request
            self.nonce = answer.headers.get("dpop-nonce", self.nonce)
            challenge = answer.headers.get("www-authenticate", "")
            if answer.status_code != 401 or "use_dpop_nonce" not in challenge:
                return


class Refused(Exception):
    def __init__(self, answer):
        super().__init__(f"{answer.status_code} {answer.text[:300]}")
        self.status, self.error = answer.status_code, answer.json().get("error")


class TokenEndpoint:
    """Asks for tokens that are bound to a key."""

    def __init__(self, issuer, note=lambda token: None):
        self.url, self.note, self.nonce = f"{issuer}/oauth/token", note, None

    def ask(self, key, form, client=None, about=None):
        """`client` is (id, secret); `about` is a token of the gateway's that the proof is about."""
        for _ in range(2):
            headers = {"dpop": key.proof("POST", self.url, self.nonce, about)}
            answer = httpx2.post(self.url, data=form, headers=headers, auth=client, timeout=30)
            self.nonce = answer.headers.get("dpop-nonce", self.nonce)
            if answer.status_code != 400 or answer.json().get("error") != "use_dpop_nonce":
                break
        if answer.status_code != 200:
            raise Refused(answer)
        token = answer.json()["access_token"]
        self.note(token)
        assert answer.json()["token_type"] == "DPoP", answer.json()
        return token

    def spawn(self, key, token, child, issuer, **more):
        form = {
            "grant_type": EXCHANGE,
            "subject_token": token,
            "subject_token_type": TOKEN_TYPE + "access_token",
            "actor_token": child.actor_token(issuer, token),
            "actor_token_type": TOKEN_TYPE + "jwt",
            **more,
        }
        return self.ask(key, form, about=token)


def claims_of(token):
    return jwt.decode(token, options={"verify_signature": False})


def sha256(text):
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
