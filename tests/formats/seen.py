"""All that can be read of the streams of a fixture, as clients and operators read it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

from headgate import Chats, Runs
from tests.formats.served import ANSWERS, KEPT, PROXIED, STREAMS, TOKENS, ask
from tests.support.processes import AT_ONCE, HEADGATE, run
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Set
    from pathlib import Path

    from tests.formats.served import Answer, Place, Served

# Streams that Headgate itself appends to at a start, or whose lifetime ends within a year.
OWN = (f"{STREAMS}/wake/", ANSWERS, PROXIED)
LONGEST_SHOWN = 200  # bytes of a body in expected.json; longer ones are a digest
# Fields that are about what is read, and those of HEAD, which are about the stream.
ABOUT_READ = {
    *("etag", "headgate-start-offset", "stream-closed", "stream-next-offset"),
    "stream-up-to-date",
}
ABOUT = {
    *("content-type", "stream-closed", "stream-expires-at", "stream-next-offset"),
    *("stream-reader-key", "stream-ttl"),
}
# What the console knows of a stream, and does not change with time.
FACTS = ("created_at", "stream_id", "forked_from", "closed", "size", "tail", "content_type")
# Of a subscription, what does not change when its leases end and its webhooks are called.
STANDING = ("kind", "pattern", "receiver", "wake_stream", "owner", "streams", "pending")
WAKING = ("holder", "lease_until")


def body_of(data: bytes) -> str:
    """Return a body as expected.json has it."""
    if len(data) > LONGEST_SHOWN:
        return f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}"
    try:
        return data.decode()
    except UnicodeDecodeError:
        return f"base64 {base64.b64encode(data).decode()}"


def answer_of(answer: Answer, about: Set[str] = ABOUT_READ) -> str:
    """Return what an answer says of its stream, in a line; of a refusal its code alone."""
    if answer.status >= 400:
        return f"{answer.status} {json.loads(answer.body)['code'] if answer.body else ''}".strip()
    fields = {name.lower(): value for name, value in answer.fields.items()}
    told = [f"{name}: {fields[name]}" for name in sorted(fields) if name in about]
    return " | ".join([f"{answer.status}", *told, body_of(answer.body)])


def everything(served: Served, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that is read at the time of a fixture."""
    return {
        "passing": passing(served, known["told"]),
        "lasting": lasting(served, known),
    }


def lasting(served: Served, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that is read at any later time as well."""
    return {**whole(served, known["offsets"]), "repeated": repeated(served, known["producers"])}


def wait_for_owner(served: Served) -> None:
    """Wait until a gateway delivers for subscriptions: on Redis, this one takes over first."""
    place = "subscriptions/hook"
    wait_until(
        lambda: served.subscription("GET", place).status == 200,
        "a gateway to deliver",
    )


def differences(was: Any, now: Any, at: str = "") -> list[str]:
    """Return where something is other than it was; what is new does not count."""
    if isinstance(was, dict) and isinstance(now, dict):
        pairs = [(one, now[name], f"{at}/{name}") for name, one in was.items() if name in now]
        gone = [f"{at}/{name} is gone: {one}" for name, one in was.items() if name not in now]
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        pairs = [(*both, f"{at}/{n}") for n, both in enumerate(zip(was, now, strict=True))]
        gone = []
    else:
        return [] if was == now else [f"{at} was {was}, is {now}"]
    return gone + [it for pair in pairs for it in differences(*pair)]


# ---- what stays at any time


def whole(served: Served, offsets: Mapping[str, Iterable[str]]) -> dict[str, Any]:
    """Return what is read of all streams, from each of these offsets."""
    listed = served.stream("GET", f"{STREAMS}/__ds/streams?limit=1000").document["streams"]
    own = tuple(it.removeprefix(f"{STREAMS}/") for it in OWN)
    return {
        "streams": {
            path: stream(served, path, some)
            for path, some in offsets.items()
            if not path.startswith(OWN)
        },
        "listed": [name for name in listed if not name.startswith(own)],
        "subscriptions": subscriptions(served),
        "tokens": tokens(served),
        "by the library": by_the_library(served),
    }


def stream(served: Served, path: str, offsets: Iterable[str]) -> dict[str, Any]:
    """Return what is read of a stream: its head, from each offset, and by operators."""
    head = answer_of(served.stream("HEAD", path), ABOUT)
    reads = {
        offset: answer_of(served.stream("GET", f"{path}?offset={offset}")) for offset in offsets
    }
    found = {"head": head, "reads": reads}
    if head.startswith("200"):
        route = KEPT if path.startswith(KEPT) else STREAMS
        one = served.console("GET", "stream", route=route, name=path.removeprefix(f"{route}/"))
        found["facts"] = {name: one["row"][name] for name in FACTS}
        found["begins at"] = one["metadata"]["begins at"]
        found["producers"] = one["producers"]
        found["limits"] = one["limits"]
    return found


def subscriptions(served: Served) -> dict[str, Any]:
    """Return each subscription with its cursors."""
    found = {}
    for row in served.console("GET", "subscriptions", route=STREAMS)["rows"]:
        one = served.console("GET", "subscription", route=STREAMS, id=row["id"])
        names = ("description", "lease_ttl_ms", "created_at", "paused_at", "links")
        found[row["id"]] = {
            **{name: one["row"][name] for name in STANDING},
            **{name: one[name] for name in names},
        }
    return found


def tokens(served: Served) -> dict[str, Any]:
    """Return the credentials as operators see them, and what each token may read."""
    one = served.console("GET", "tokens")
    reads = {
        name: {
            path: served.stream("GET", f"{STREAMS}/{path}", token=name).status
            for path in ("notes", "events")
        }
        for name in TOKENS
        if name != "banned"  # whose ban ends
    }
    listed = [{name: it[name] for name in it if name != "use"} for it in one["tokens"]]
    keys = [{"kids": it["kids"], "signs": it["signs"]} for it in one["keys"]]
    return {"tokens": listed, "keys": keys, "revocations": one["revocations"], "reads": reads}


def runs_of(served: Served) -> Runs:
    """Return the runs of the application."""
    base = f"{served.server.streams}/runs"
    return Runs(base, authorization=f"Bearer {TOKENS['all']}", ttl=None)


def by_the_library(served: Served) -> dict[str, Any]:
    """Return a run of an application, and its chat."""

    async def read() -> dict[str, Any]:
        async with runs_of(served) as runs:
            answer = await runs.follow("story")
            state = await runs.state("story")
            assert answer is not None
            assert state is not None
            text = b"".join([it async for it in answer.body]).decode()
            history = await Chats(runs).history("chat")
            return {
                "text": text,
                "status": state.status,
                "messages": [*history.messages],
            }

    return asyncio.run(read())


def read_on(served: Served, place: Place) -> str:
    """Read a stream as far as its end by the command, which notes the offset in a file."""
    file = place.access / f"{place.streams.partition(':')[0]}.offset"
    authorization = {"STREAM_AUTH": f"Bearer {TOKENS['all']}"}
    words: list[str | Path] = [
        HEADGATE,
        "read",
        f"{served.server.streams}/notes",
        "--offset-file",
        file,
    ]
    done = run(words, environment={**os.environ, **AT_ONCE, **authorization})
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


# ---- producers, which what is sent again does not change


def repeated(served: Served, producers: Mapping[str, Any]) -> dict[str, Any]:
    """Return what producers are told that repeat an append, are outdated, or left something out."""
    found = {}
    for name, last in producers.items():
        epoch, seq = (int(last["fields"][it]) for it in ("Producer_Epoch", "Producer_Seq"))
        for what, other in (
            ("repeats", {}),
            ("is outdated", {"Producer_Epoch": f"{epoch - 1}", "Producer_Seq": f"{seq}"}),
            ("leaves out", {"Producer_Seq": f"{seq + 2}"}),
        ):
            fields = {**last["fields"], **other}
            if fields["Producer_Epoch"] == "-1":
                continue
            answer = served.stream("POST", last["path"], last["body"].encode(), **fields)
            names = sorted(it for it in answer.fields if it.startswith("Producer-"))
            told = [f"{it}: {answer.fields[it]}" for it in names]
            offset = answer.fields["Stream-Next-Offset"] or "no offset"
            found[f"{name} {what}"] = " | ".join([f"{answer.status}", offset, *told])
    return found


# ---- what passes


def passing(served: Served, told: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is read at the time of the fixture only."""
    keys = served.stream("GET", f"{STREAMS}/__ds/jwks.json").document["keys"]
    wakes = {}
    for row in served.console("GET", "subscriptions", route=STREAMS)["rows"]:
        one = served.console("GET", "subscription", route=STREAMS, id=row["id"])
        wake = one["wake"] and {name: one["wake"][name] for name in WAKING}
        wakes[row["id"]] = {"generation": one["generation"], "wake": wake}
    joined = {}
    for key, one in told["answers"].items():
        path = "/openai/v1/chat/completions"
        answer = served.stream("POST", path, one["request"].encode(), **one["fields"])
        joined[key] = {"status": answer.status, "is the same": answer.body.decode() == one["body"]}
    slow = told["unfinished"]
    path = "/openai/v1/chat/completions"
    answer = served.stream("POST", path, slow["request"].encode(), **slow["fields"])
    events = [event.split(b"\nid:")[0].decode() for event in answer.body.split(b"\n\n")]
    joined["slow"] = {"status": answer.status, "begins": events[0], "fails": "error" in events[-2]}
    owner = {"Authorization": slow["fields"]["Authorization"]}
    retrieved = served.stream("GET", "/openai/v1/responses/resp_1", **owner)
    signed = f"{STREAMS}/notes?offset=-1&token={told['signed']}"
    bans = served.console("GET", "bans")["bans"]
    return {
        "announced": {name: announced(served, name) for name in ("wake/pool", "wake/names")},
        "keys": keys,
        "wakes": wakes,
        "bans": bans,
        "banned": served.stream("GET", f"{STREAMS}/notes", token="banned").status,
        "answers": joined,
        "response": retrieved.document["status"],
        "proxied": answer_of(ask("GET", f"{served.server.url}{told['proxied']}")),
        "signed": ask("GET", f"{served.server.url}{signed}").status,
    }


def announced(served: Served, name: str) -> list[str]:
    """Return the wakes in a wake stream; each may be there more than once."""
    events = served.stream("GET", f"{STREAMS}/{name}").document
    names = ("subscription_id", "stream", "generation")
    return sorted({" ".join(str(it[name]) for name in names) for it in events})
