"""The gateway that the checks run against, as its operator sees it. The first argument of each is the run's folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

RUN = Path(sys.argv[1])
QUICKSTART = json.loads((RUN / "quickstart.json").read_text().splitlines()[0])
ISSUER = QUICKSTART["issuer"]


def url_of(app):
    return next(entry["url"] for entry in QUICKSTART["apps"] if entry["id"] == app)


def note(token):
    """Notes a credential for the search through the recording."""
    with (RUN / "tokens").open("a") as file:
        file.write(token + "\n")


def vestibule(*arguments):
    """What a command prints: one object a line."""
    command = [os.environ["VESTIBULE_BIN"], *arguments, "--output", "json", "--dir", str(RUN / "gateway")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, f"{' '.join(arguments)}: exit code {done.returncode}: {done.stderr[-300:]}"
    return [json.loads(line) for line in done.stdout.splitlines()]


def agent(name):
    """The credential of an agent that the script has added."""
    added = json.loads((RUN / f"{name}.json").read_text())
    return added["client_id"], added["client_secret"]


def recorded(*filters):
    """The newest attempt that fits."""
    found = vestibule("audit", "search", "--limit", "1", *filters)
    assert found, f"the record has nothing for {' '.join(filters)}"
    return found[-1]
