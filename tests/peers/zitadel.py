"""zitadel/oidc as the issuer of users, as zitadel/main.go starts it."""

import base64
import hashlib
import os
import re
import secrets

import httpx2

ISSUER = os.environ["ZITADEL_ISSUER"]
CALLBACK = "http://127.0.0.1/callback"


def login(user, client):
    """The ID token and the access token that the user gets at the client, by the authorization code flow.

    The browser is this function: it fills in the form that the library's example has."""
    verifier = secrets.token_urlsafe(40)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    asked = {
        "client_id": client,
        "response_type": "code",
        "redirect_uri": CALLBACK,
        "scope": "openid",
        "state": "any",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    with httpx2.Client(timeout=30) as browser:
        page = browser.get(f"{ISSUER}auth", params=asked)
        for _ in range(10):
            if page.is_redirect:
                to = page.url.join(page.headers["location"])
                if str(to).startswith(CALLBACK):
                    code = {"code": to.params["code"], "redirect_uri": CALLBACK, "code_verifier": verifier}
                    form = {"grant_type": "authorization_code", **code}
                    answer = httpx2.post(f"{ISSUER}oauth/token", data=form, auth=(client, client), timeout=30)
                    return answer.raise_for_status().json()
                page = browser.get(to)
            else:
                request = re.search(r'name="id" value="([^"]+)"', page.text).group(1)
                form = {"id": request, "username": user, "password": "any"}
                page = browser.post(page.url.join("/login/username"), data=form)
    raise AssertionError("the login does not end")
