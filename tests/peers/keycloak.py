"""Keycloak as the issuer of users, with the realm of peers-realm.json."""

import os

import httpx2

ISSUER = os.environ["KEYCLOAK_ISSUER"]
BASE, REALM = ISSUER.split("/realms/")


def login(user, client):
    """The ID token and the access token that the user gets at the client, by their password."""
    return tokens(ISSUER, client, grant_type="password", scope="openid", username=user, password=user)


def service_token(client):
    """What the client gets for itself."""
    return tokens(ISSUER, client, grant_type="client_credentials")["access_token"]


def rotate():
    """Gives the realm a key that is preferred from now on; the one before it stays published."""
    form = {"grant_type": "password", "username": "admin", "password": os.environ["KEYCLOAK_PASSWORD"]}
    answer = httpx2.post(token_url(f"{BASE}/realms/master"), data={"client_id": "admin-cli", **form}, timeout=60)
    headers = {"authorization": f"Bearer {answer.raise_for_status().json()['access_token']}"}
    realm = httpx2.get(f"{BASE}/admin/realms/{REALM}", headers=headers, timeout=60).raise_for_status().json()
    key = {
        "name": "rotated",
        "providerType": "org.keycloak.keys.KeyProvider",
        "providerId": "rsa-generated",
        "parentId": realm["id"],
        "config": {"priority": ["200"], "enabled": ["true"], "active": ["true"], "algorithm": ["RS256"]},
    }
    url = f"{BASE}/admin/realms/{REALM}/components"
    httpx2.post(url, json=key, headers=headers, timeout=60).raise_for_status()


def tokens(issuer, client, **form):
    return httpx2.post(token_url(issuer), data=form, auth=(client, client), timeout=60).raise_for_status().json()


def token_url(issuer):
    return f"{issuer}/protocol/openid-connect/token"
