"""The official Python SDK against the gateway: `sdk_client.py RUN_FOLDER`.

The folder has quickstart.json, key.pem and peer-key.json; the tokens that the SDK gets are added to `tokens`.

The SDK is given the application's URL, the client's credential and the name of the issuer, nothing else. To find
the rest from the first 401, mcp 2.3.0 asks this of the gateway (read in mcp/client/auth and mcp/shared/auth.py):

- 401 with `WWW-Authenticate: Bearer … resource_metadata="URL"`. Without it, the SDK tries
  /.well-known/oauth-protected-resource/PATH and then the root one. 5xx or 429 there ends the flow.
- The protected resource metadata has `resource` and at least one of `authorization_servers`. `resource` has the
  scheme, host and port of the URL that the client was given, and its path or a parent of it. It is sent back
  unchanged as the `resource` of the token request.
- The authorization server metadata is at /.well-known/oauth-authorization-server/PATH (or openid-configuration),
  with `issuer`, `token_endpoint` and `authorization_endpoint`, all absolute URLs. The SDK refuses metadata without
  the last one even where it is not needed; RFC 8414 §2 lets an issuer without such a grant leave it out. `issuer`
  equals the entry of `authorization_servers` to the letter, a slash at the end included. 5xx ends the flow, 4xx
  tries the next.
- Scope of the token request: that of the challenge, else all `scopes_supported` of the resource, else all of the
  issuer, else none. What is published there must be grantable to every client, or its token request fails.
- client_secret_basic with both parts percent-encoded. private_key_jwt without `client_id` in the form and without
  `kid` in the assertion's header: `iss` = `sub` = the client's id, `aud` = the issuer (RFC 7523bis), `jti`, 300 s.
- The answer has `access_token`, `token_type` Bearer, `expires_in`.
- Requests of one provider wait for each other until the *head* of an answer is there: the gateway must pass on the
  head of an event stream before its first event, or every other request hangs.
"""

import asyncio
import http.client
import json
import time
from urllib.parse import urlsplit

import httpx2
from mcp.client.auth.extensions.client_credentials import PrivateKeyJWTOAuthProvider, SignedJWTParameters

from gateway import ISSUER, QUICKSTART, RUN, url_of
from report import check, reason
from sdk import Tokens, by_secret, connected

URL = url_of("everything")


def by_key(client_id):
    assertion = SignedJWTParameters(
        issuer=client_id,
        subject=client_id,
        signing_key=(RUN / "key.pem").read_text(),
        signing_algorithm="ES256",
    )
    provider = assertion.create_assertion_provider()
    return PrivateKeyJWTOAuthProvider(URL, Tokens(), client_id, provider, issuer=ISSUER)


async def use(name, provider, mode):
    """All that a client does with the application."""
    with check(f"{name}: connects"):
        async with connected(URL, provider, mode) as client:
            await tools(name, client)
            await streaming(name, client)
            await resources_and_prompts(name, client)
            await errors(name, client)


async def tools(name, client):
    with check(f"{name}: lists the tools"):
        listed = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert {"echo", "get-sum", "trigger-long-running-operation"} <= listed.keys(), listed.keys()
        schema = listed["echo"].input_schema
        assert schema["required"] == ["message"] and "$schema" in schema, schema
        assert listed["echo"].annotations.read_only_hint is True
    with check(f"{name}: calls a tool"):
        answer = await client.call_tool("echo", {"message": "größer ≥ 1 \U0001f600"})
        assert not answer.is_error and answer.content[0].text == "Echo: größer ≥ 1 \U0001f600", answer
    with check(f"{name}: calls twenty tools at once and each gets its own answer"):
        answers = await asyncio.gather(*(client.call_tool("get-sum", {"a": n, "b": 1000}) for n in range(20)))
        for n, answer in enumerate(answers):
            assert str(n + 1000) in answer.content[0].text, (n, answer)


async def streaming(name, client):
    with check(f"{name}: progress arrives while the tool works"):
        progress = []

        async def on_progress(done, total, _message):
            progress.append((time.monotonic(), done, total))

        arguments = {"duration": 2, "steps": 4}
        tool = "trigger-long-running-operation"
        answer = await client.call_tool(tool, arguments, progress_callback=on_progress)
        ended = time.monotonic()
        assert "Long running operation completed" in answer.content[0].text, answer
        assert [(done, total) for _, done, total in progress] == [(n, 4) for n in (1, 2, 3, 4)], progress
        # 1.5 s if nothing is held back; the rest is for a busy machine.
        assert ended - progress[0][0] > 0.5, "the progress was held back until the end"


async def resources_and_prompts(name, client):
    with check(f"{name}: reads a listed resource"):
        listed = [str(resource.uri) for resource in (await client.list_resources()).resources]
        assert listed, "no resources are listed"
        read = await client.read_resource(listed[0])
        assert str(read.contents[0].uri) == listed[0] and len(read.contents[0].text) > 100, read
    with check(f"{name}: reads a resource of a template"):
        templates = [t.uri_template for t in (await client.list_resource_templates()).resource_templates]
        assert "demo://resource/dynamic/text/{resourceId}" in templates, templates
        read = await client.read_resource("demo://resource/dynamic/text/3")
        assert read.contents[0].text.startswith("Resource 3"), read
    with check(f"{name}: gets a prompt with arguments"):
        listed = [prompt.name for prompt in (await client.list_prompts()).prompts]
        assert "args-prompt" in listed, listed
        prompt = await client.get_prompt("args-prompt", {"city": "Bern"})
        assert "Bern" in prompt.messages[0].content.text, prompt


async def errors(name, client):
    with check(f"{name}: an unknown tool is an error, and the session goes on"):
        try:
            answer = await client.call_tool("no-such-tool", {})
            assert answer.is_error, answer
        except AssertionError:
            raise
        except Exception as error:
            assert getattr(error, "code", None) == -32602, error
        assert (await client.call_tool("echo", {"message": "on"})).content[0].text == "Echo: on"


def requests_seen():
    return len((RUN / "recording").read_text().splitlines())


async def stranger():
    with check("stranger is refused with a way to the issuer, and the application hears nothing"):
        before = requests_seen()
        hello = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
        async with httpx2.AsyncClient() as web:
            for headers in ({}, {"Authorization": "Bearer made-up"}):
                answer = await web.post(URL, json=hello, headers=headers)
                assert answer.status_code == 401, (headers, answer.status_code)
                assert 'resource_metadata="' in answer.headers["www-authenticate"], answer.headers
        assert requests_seen() == before, "the application saw a request of a stranger"


def stranger_goes_on():
    """The SDK asks for the metadata over the connection on which it was refused."""
    with check("connection of a refused client can be used again, or is said to be closed"):
        url = urlsplit(URL)
        for attempt in range(20):
            connection = http.client.HTTPConnection(url.hostname, url.port, timeout=10)
            # http.client sends the body after the head, as most clients do: the refusal may overtake it.
            connection.request("POST", url.path, b'{"jsonrpc":"2.0","id":1,"method":"ping"}')
            refusal = connection.getresponse()
            refusal.read()
            assert refusal.status == 401, refusal.status
            if not refusal.will_close:
                connection.auto_open = 0
                connection.request("GET", f"/.well-known/oauth-protected-resource{url.path}")
                assert connection.getresponse().status == 200, attempt
            connection.close()


async def wrong_credential(name, provider):
    with check(f"{name} is refused a token, and the application hears nothing"):
        before = requests_seen()
        try:
            async with connected(URL, provider) as client:
                await client.list_tools()
        except* Exception as group:
            assert "Token exchange failed (401)" in reason(group), reason(group)
        else:
            raise AssertionError("it was served")
        assert requests_seen() == before, "the application saw a request of a refused client"


async def main():
    agent = QUICKSTART["agents"][0]
    credential = (agent["client_id"], agent["client_secret"])
    key_agent = json.loads((RUN / "peer-key.json").read_text())["client_id"]
    await stranger()
    stranger_goes_on()
    await wrong_credential("client with a wrong secret", by_secret(URL, agent["client_id"], "wrong"))
    await wrong_credential("client with a key of another", by_key(agent["client_id"]))
    for mode in ("legacy", "auto"):
        await use(f"python-sdk, secret, {mode}", by_secret(URL, *credential), mode)
        await use(f"python-sdk, private_key_jwt, {mode}", by_key(key_agent), mode)
    with check("python-sdk, secret in the form: connects"):
        provider = by_secret(URL, *credential, "client_secret_post")
        async with connected(URL, provider) as client:
            assert (await client.list_tools()).tools


asyncio.run(main())
