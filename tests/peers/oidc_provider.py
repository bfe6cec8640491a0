"""oidc-provider as the issuer of users, as idp.mjs starts it."""

import base64
import hashlib
import html
import os
import re
import secrets

import httpx2

ISSUER = os.environ["OIDC_PROVIDER_ISSUER"]
CALLBACK = "http://127.0.0.1/callback"


def login(user, client):
    """The ID token and the access token that the user gets at the client, by the authorization code flow.

    The browser is this function: it fills in the pages that the provider has for trying things out."""
    verifier = secrets.token_urlsafe(40)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    asked = {
        "client_id": client,
        "response_type": "code",
        "redirect_uri": CALLBACK,
        "scope": "openid",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    with httpx2.Client(timeout=30) as browser:
        page = browser.get(f"{ISSUER}/auth", params=asked)
        for _ in range(10):
            if page.is_redirect:
                to = page.url.join(page.headers["location"])
                if str(to).startswith(CALLBACK):
                    assert "code" in to.params, to.params
                    code = {"code": to.params["code"], "redirect_uri": CALLBACK, "code_verifier": verifier}
                    return tokens(client, grant_type="authorization_code", **code)
                page = browser.get(to)
            else:
                url, form = filled_in(page, user)
                page = browser.post(url, data=form)
    raise AssertionError("the login does not end")


def filled_in(page, user):
    action = html.unescape(re.search(r'action="([^"]+)"', page.text).group(1))
    form = dict(re.findall(r'name="(prompt)" value="([^"]+)"', page.text))
    if 'name="login"' in page.text:
        form |= {"login": user, "password": "any"}
    return page.url.join(action), form


def service_token(client):
    """What the client gets for itself."""
    return tokens(client, grant_type="client_credentials")["access_token"]


def rotate():
    """Gives the provider a key that is preferred from now on; the one before it stays published."""
    httpx2.post(f"{ISSUER}/rotate", timeout=30).raise_for_status()


def tokens(client, **form):
    return httpx2.post(f"{ISSUER}/token", data=form, auth=(client, client), timeout=30).raise_for_status().json()
