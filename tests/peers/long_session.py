"""A session and a stream over many tokens: `long_session.py RUN_FOLDER SECONDS`.

Beside the files that gateway.py reads, the folder has long-session.json: an agent that nobody else uses. Tokens live
for 60 s. Two clients run at once, one with a session (2025-11-25, application `everything`), one with a request at a time
(2026-07-28, application `sandbox`). Each makes a call a second, and one call that reports progress all the while.

The SDK sends a request with the token that is over, or with none once its own clock says so, gets the next token from
the refusal, and sends the request again. So one refusal a token is right, and no call is lost.
"""

import asyncio
import json
import sys
import time
import urllib.request
from collections import Counter

from gateway import QUICKSTART, RUN, url_of
from report import check, reason
from sdk import by_secret, connected

SECONDS = int(sys.argv[2])
AGENT = json.loads((RUN / "long-session.json").read_text())
# Progress is made once a second; what is later than this was held back. The rest is for a busy machine.
GAP_MAX_SECONDS = 15


class Lane:
    """One client of one application, and what it saw of its connection."""

    def __init__(self, app, mode, call, long_call):
        self.name = f"{SECONDS} s of {app}, {mode}"
        self.app, self.mode, self.call, self.long_call = app, mode, call, long_call
        self.provider = by_secret(url_of(app), AGENT["client_id"], AGENT["client_secret"])
        self.sessions = Counter()
        self.statuses = Counter()

    async def run(self):
        since = int(time.time() * 1000)
        with check(f"{self.name}: connects, and ends in time"):
            async with (
                asyncio.timeout(SECONDS + 60),
                connected(url_of(self.app), self.provider, self.mode, self.on_answer) as client,
            ):
                await asyncio.gather(self.make_calls(client), self.follow_progress(client))
            self.check_connection()
            self.check_record(attempts(self.app, since))

    async def on_answer(self, answer):
        """The head of every answer of the application, also of the refusals that the SDK deals with itself."""
        if str(answer.request.url) == url_of(self.app):
            self.statuses[answer.status_code] += 1
            if b'"tools/call"' in answer.request.content:
                self.sessions[answer.request.headers.get("mcp-session-id")] += 1

    async def make_calls(self, client):
        with check(f"{self.name}: all of {SECONDS} calls were answered, each with its own answer"):
            lost = []
            start = time.monotonic()
            for number in range(SECONDS):
                await asyncio.sleep(start + number - time.monotonic())
                try:
                    await asyncio.wait_for(self.call(client, number), 30)
                except Exception as error:  # the session goes on, and the others are counted
                    lost.append(f"call {number}: {reason(error)}")
            assert not lost, f"{len(lost)} lost, {lost[0]}"

    async def follow_progress(self, client):
        with check(f"{self.name}: all of {SECONDS} progress notifications of one call arrived as they were made"):
            seen = []
            times = [time.monotonic()]

            async def on_progress(done, _total, _message):
                seen.append(done)
                times.append(time.monotonic())

            tool, arguments = self.long_call
            answer = await client.call_tool(tool, arguments, progress_callback=on_progress)
            assert not answer.is_error, answer
            assert seen == list(range(1, SECONDS + 1)), f"{len(seen)} arrived, the last {seen[-5:]}"
            gap = max(later - earlier for earlier, later in zip(times, times[1:]))
            assert gap < GAP_MAX_SECONDS, f"nothing came for {gap:.1f} s"

    def check_connection(self):
        with check(f"{self.name}: {'one session' if self.mode == 'legacy' else 'no session'} for all calls"):
            assert len(self.sessions) == 1 and (None in self.sessions) == (self.mode != "legacy"), self.sessions
        tokens = self.provider.context.storage.count
        with check(f"{self.name}: took {tokens} tokens, each after one refusal"):
            assert tokens >= SECONDS // 60, tokens
            assert self.statuses.keys() <= {200, 202, 401} and self.statuses[401] == tokens, self.statuses

    def check_record(self, record):
        with check(f"{self.name}: the record has one permitted attempt for each call, with its answer"):
            calls = Counter(attempt["operation"] for attempt in record if attempt["operation"])
            assert calls == {self.call.__name__: SECONDS, self.long_call[0]: 1}, calls
            for attempt in record:
                assert not attempt["operation"] or was_answered(attempt), attempt
        with check(f"{self.name}: the record has a refusal for each token, and no other"):
            kinds = Counter((attempt["kind"], attempt["denial"]) for attempt in record)
            tokens = kinds["token-request", None]
            refused = {kind: count for kind, count in kinds.items() if kind[1]}
            assert tokens == self.provider.context.storage.count, kinds
            allowed = {("call", "credential-missing"), ("call", "token-expired")}
            assert refused.keys() <= allowed and sum(refused.values()) == tokens, kinds


def was_answered(attempt):
    """The SDK hangs up as soon as it has the event with the answer. The stream may not have come to its end by then,
    and the record says `unknown`: the client left during the reply."""
    ended = attempt["outcome"] == "completed" or (attempt["outcome"] == "unknown" and attempt["bytes_out"] > 0)
    return ended and attempt["decision"] == "permit" and attempt["upstream_status"] == 200


async def echo(client, number):
    answer = await client.call_tool("echo", {"message": f"call {number}"})
    assert not answer.is_error and answer.content[0].text == f"Echo: call {number}", answer


async def list_repos(client, _number):
    answer = await client.call_tool("list_repos", {})
    assert not answer.is_error and "payroll" in answer.content[0].text, answer


def attempts(app, since):
    """Everything that the record has of the application since then, the newest 10000."""
    query = f"app={app}&since={since}&limit=10000"
    request = urllib.request.Request(
        f"{QUICKSTART['admin_url']}/admin/v1/attempts?{query}",
        headers={"Authorization": f"Bearer {QUICKSTART['admin_token']}"},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["items"]


async def main():
    operation = ("trigger-long-running-operation", {"duration": SECONDS, "steps": SECONDS})
    await asyncio.gather(
        Lane("everything", "legacy", echo, operation).run(),
        Lane("sandbox", "2026-07-28", list_repos, ("stream_progress", {"seconds": SECONDS})).run(),
    )


asyncio.run(main())
