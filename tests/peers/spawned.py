"""The official Python SDK with the token of an agent that another has spawned: `spawned.py RUN_FOLDER`.

The SDK knows bearer tokens; the proof of the key is added where its HTTP client lets one add credentials (dpop.py). The
folder has parent.json, an agent that may have children. Each child may list and stream, which is less than its parent.
"""

import asyncio
import json
import sys

from dpop import Bound, Key, Refused, TokenEndpoint, claims_of
from gateway import ISSUER, agent, note, recorded, url_of, vestibule
from report import check, reason
from sdk import connected

URL = url_of("sandbox")
MODES = ("legacy", "auto")
OPERATIONS = {"list_repos": {}, "stream_progress": {}}
STREAM_SECONDS = 120
# From the acknowledgement of the order to the end of the call at the client: for a busy machine.
CUT_MAX_SECONDS = 10


class Family:
    """An agent with a key, and a child that it has spawned."""

    def __init__(self):
        self.parent, self.child = Key(), Key()
        self.endpoint = TokenEndpoint(ISSUER, note)
        form = {"grant_type": "client_credentials", "resource": URL}
        self.root = self.endpoint.ask(self.parent, form, client=agent("parent"))
        self.token = self.spawn(self.child)

    def spawn(self, child):
        authority = [{"type": "vestibule_operations", "locations": [URL], "operations": OPERATIONS}]
        details = json.dumps(authority)
        return self.endpoint.spawn(self.parent, self.root, child, ISSUER, authorization_details=details)

    @property
    def node(self):
        return claims_of(self.root)["vst"]["node"]


def spawning(family):
    with check("spawned: the child's token names parent and child, and is bound to the child's key"):
        claims, root = claims_of(family.token), claims_of(family.root)
        assert claims["cnf"] == {"jkt": family.child.thumbprint}, claims
        assert claims["client_id"] == family.child.agent, claims
        assert claims["vst"]["path"][0] == family.node and claims["vst"]["depth"] == 2, claims
        assert claims["exp"] <= root["vst"]["node_exp"], (claims, root)
        assert claims["act"]["sub"] == family.child.agent, claims
    with check("spawned: who holds the parent's token without its key spawns nothing"):
        try:
            family.endpoint.spawn(Key(), family.root, Key(), ISSUER)
        except Refused as refusal:
            assert (refusal.status, refusal.error) == (400, "invalid_dpop_proof"), refusal
        else:
            raise AssertionError("a child was spawned")


async def using(mode, family):
    name = f"spawned, {mode}"
    with check(f"{name}: connects"):
        async with connected(URL, Bound(family.child, family.token), mode) as client:
            with check(f"{name}: sees what was handed on, and nothing else"):
                listed = {tool.name for tool in (await client.list_tools()).tools}
                assert listed == set(OPERATIONS), listed
            with check(f"{name}: calls what was handed on, and the record has the chain"):
                answer = await client.call_tool("list_repos", {})
                assert not answer.is_error and "hello-world" in answer.content[0].text, answer
                record = recorded("--agent", family.child.agent, "--operation", "list_repos")
                assert [link["agent"] for link in record["chain"]] == ["parent", family.child.agent], record
                assert record["chain"][0]["node"] == family.node, record
            with check(f"{name}: what the parent may not, and what it kept, do not exist for the child"):
                for tool in ("delete_repo", "create_repo"):
                    await is_unknown(client, tool)


async def is_unknown(client, tool):
    try:
        answer = await client.call_tool(tool, {"name": "hello-world"})
    except Exception as error:
        assert getattr(error, "code", None) == -32602, error
    else:
        raise AssertionError(f"{tool}: {answer}")


async def revoking(mode, family):
    """The parent's delegation is revoked while the child's call streams."""
    name = f"spawned, {mode}"
    seen, streaming = [], asyncio.Event()

    async def on_progress(done, _total, _message):
        seen.append(done)
        if len(seen) == 2:
            streaming.set()

    async def stream(client):
        arguments = {"seconds": STREAM_SECONDS}
        await client.call_tool("stream_progress", arguments, progress_callback=on_progress)

    with check(f"{name}: revoking the parent's delegation cuts the child's running call"):
        async with connected(URL, Bound(family.child, family.token), mode) as client:
            call = asyncio.create_task(stream(client))
            await asyncio.wait_for(streaming.wait(), 30)
            [report] = await asyncio.to_thread(vestibule, "revoke", "delegation", family.node)
            ended, _ = await asyncio.wait([call], timeout=CUT_MAX_SECONDS)
            call.cancel()
        assert ended, f"the call still ran {CUT_MAX_SECONDS} s after the order"
        assert call.exception() is not None, "the call came to its end"
        print(f"{name}: the SDK says: {reason(call.exception())}", file=sys.stderr)
        # In a session the SDK has a stream open for what the server says unasked, which is cut as well.
        cut = {(attempt["agent"], attempt["stage"]) for attempt in report["attempts"]}
        assert cut == {(family.child.agent, "streaming")} and report["cut"]["nodes"] == 2, report
        assert seen[-1] < STREAM_SECONDS, seen
        record = recorded("--agent", family.child.agent, "--operation", "stream_progress")
        assert (record["outcome"], record["denial"]) == ("cut", "delegation-revoked"), record
    with check(f"{name}: its next call is refused"):
        statuses = set()

        async def on_answer(answer):
            statuses.add(answer.status_code)

        try:
            async with connected(URL, Bound(family.child, family.token), mode, on_answer) as client:
                await client.call_tool("list_repos", {})
        except Exception as error:
            assert statuses == {401}, (statuses, reason(error))
        else:
            raise AssertionError("it was served")
        record = recorded("--agent", family.child.agent, "--decision", "deny")
        assert record["denial"] == "delegation-revoked", record
    with check(f"{name}: nor can the parent spawn another child"):
        try:
            family.spawn(Key())
        except Refused as refusal:
            assert refusal.status == 400, refusal
        else:
            raise AssertionError("a child was spawned")


async def main():
    spawning(Family())
    for mode in MODES:
        family = Family()
        await using(mode, family)
        await revoking(mode, family)


asyncio.run(main())
