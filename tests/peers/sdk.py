"""What the checks with the official Python SDK share."""

from contextlib import asynccontextmanager

from mcp import Client
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

from gateway import ISSUER, note


class Tokens:
    """Keeps the tokens of one client, and notes them for the search through the recording."""

    def __init__(self):
        self.current = None
        self.count = 0

    async def get_tokens(self):
        return self.current

    async def set_tokens(self, tokens):
        self.current = tokens
        self.count += 1
        note(tokens.access_token)

    async def get_client_info(self):
        return None

    async def set_client_info(self, client_info):
        raise AssertionError("the SDK registered a client that has its credential already")


def by_secret(url, client_id, client_secret, method="client_secret_basic"):
    return ClientCredentialsOAuthProvider(url, Tokens(), client_id, client_secret, method, issuer=ISSUER)


@asynccontextmanager
async def connected(url, provider, mode="auto", on_answer=None):
    """A client of the application; `on_answer` sees the head of each HTTP answer."""
    async with create_mcp_http_client(auth=provider) as web:
        if on_answer:
            web.event_hooks["response"].append(on_answer)
        async with Client(streamable_http_client(url, http_client=web), mode=mode) as client:
            yield client
