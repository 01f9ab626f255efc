"""Make the fixtures of a format: what users do, by commands and HTTP alone, and what is read then.

`python -m tests.formats.make VERSION` writes the folder of that name, with this product. It needs
a `redis-server`. A folder that is there is not written again: its format is out in the world.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate import Chats, encode_multi_chunks
from tests.formats import seen
from tests.formats.fixtures import FIXTURES, pack, unpack
from tests.formats.served import (
    EVENTS,
    KEPT,
    STREAMS,
    TOKENS,
    UPSTREAM,
    Answer,
    Place,
    Receiver,
    Served,
    receiving,
    serving,
    upstream,
)
from tests.formats.settings_files import FILES, left_out, make_settings, values_in
from tests.support.processes import AT_ONCE, HEADGATE, run
from tests.support.redis_servers import redis_server
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

TEXT = {"Content_Type": "text/plain"}
JSON = {"Content_Type": "application/json"}
BYTES = {"Content_Type": "application/octet-stream"}
LEASE_MS = 600_000  # the longest: a lease is in force when the fixture is read at its own time


def command(
    *words: str | Path, data: bytes = b"", environment: Mapping[str, str] | None = None
) -> bytes:
    """Run a command of the product; return what it prints."""
    whole = {**os.environ, **AT_ONCE, **(environment or {})}
    done = run([HEADGATE, *words], data, environment=whole)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


class Writer:
    """The clients of the scene; `offsets` are those that each stream has given out."""

    def __init__(self, served: Served, place: Place) -> None:
        self.served = served
        self.place = place
        self.offsets: dict[str, set[str]] = defaultdict(lambda: {"-1"})
        self.producers: dict[str, dict[str, Any]] = {}
        self.told: dict[str, Any] = {}  # what cannot be asked for again

    def send(self, method: str, name: str, body: bytes = b"", **fields: str) -> Answer:
        path = name if name.startswith("/") else f"{STREAMS}/{name}"
        answer = self.served.stream(method, path, body, **fields)
        assert answer.status < 300, f"{method} {path}: {answer.status} {answer.body.decode()}"
        if offset := answer.fields["Stream-Next-Offset"]:
            self.offsets[path].add(offset)
        if producer := fields.get("Producer_Id"):
            self.producers[f"{path} {producer}"] = {
                "path": path,
                "body": body.decode(),
                "fields": fields,
            }
        return answer

    def put(self, name: str, *body: bytes, **fields: str) -> str:
        return self.send("PUT", name, b"".join(body), **fields).fields["Stream-Next-Offset"]

    def post(self, name: str, *bodies: bytes, **fields: str) -> str:
        answers = [self.send("POST", name, body, **fields) for body in bodies]
        return answers[-1].fields["Stream-Next-Offset"]

    def subscribe(self, name: str, **members: object) -> None:
        answer = self.served.subscription("PUT", f"subscriptions/{name}", members)
        assert answer.status == 201, answer.body


def stamp(producer: str, epoch: int, seq: int) -> dict[str, str]:
    return {"Producer_Id": producer, "Producer_Epoch": f"{epoch}", "Producer_Seq": f"{seq}"}


# ---- what is done before the server is stopped


def contents(of: Writer) -> None:
    """Streams of each content, some of them closed, and one that has no content."""
    of.put("notes", b"one ", **TEXT)
    of.post("notes", b"two ", b"three ", **TEXT)
    of.put("events", b'{"n": 1.50, "n": 2}', **JSON)
    of.post("events", b'[12345678901234567890, "\xc3\xa9", [1, [2]]]', b"null", **JSON)
    multi = encode_multi_chunks([b"[1,2]", b'"x"'])
    of.post("events", multi, X_Stream_Multi="true", **JSON)
    of.put("bytes", bytes(range(256)), **BYTES)
    of.post("bytes", b"\0" * 3, **BYTES)
    of.put("empty", **TEXT)
    of.put("r%C3%A4ume/%C3%A9%201(a)", b"named", **TEXT)
    of.put("long", **TEXT)
    of.post("long", *(f"{n:07}\n".encode() * 12_500 for n in range(7)), **TEXT)
    of.put("closed/whole", b"all of it", Stream_Closed="true", **TEXT)
    of.put("closed/empty", Stream_Closed="true", **JSON)
    of.put("closed/later", b"1", **TEXT)
    of.post("closed/later", b"2", Stream_Closed="true", **TEXT, **stamp("closer", 3, 0))
    of.put("ordered", **TEXT)
    of.post("ordered", b"a", Stream_Seq="0001", **TEXT)
    of.put(f"{KEPT}/log", **TEXT)
    for n in range(12):
        of.post(f"{KEPT}/log", f"line {n}\n".encode(), **TEXT)
    assert seen.read_on(of.served, of.place) == "one two three "


def lifetimes(of: Writer) -> None:
    """Streams that live long, that have lived, and limits that an operator has set."""
    of.put("lasting/idle", b"x", Stream_TTL="3000000000", **TEXT)
    of.put("lasting/dated", b"x", Stream_Expires_At="2099-12-31T23:59:59.5Z", **TEXT)
    of.put("lasting/none", b"x", Stream_TTL="0", **TEXT)
    of.put("limited", b"x", **TEXT)
    limits = {"retention_age": 3_000_000_00, "retention_messages": 1000, "ttl": 300_000_000}
    of.served.console("PATCH", "stream", limits, route=STREAMS, name="limited")
    of.put("again", b"the first", **TEXT)
    of.send("DELETE", "again")
    of.put("again", b"the second", **TEXT)
    of.put("deleted", b"x", **TEXT)
    of.send("DELETE", "deleted")


def forks(of: Writer) -> None:
    """A fork, a fork of it, one at an offset amid a commit, and one whose source was deleted."""
    of.put("source", b"1 ", **TEXT)
    second = of.post("source", b"2 ", **TEXT)
    of.post("source", b"3 ", **TEXT)
    source = {"Stream_Forked_From": f"{STREAMS}/source", **TEXT}
    third = of.put("fork", Stream_Fork_Offset=second, **source)
    assert third == second
    inner = of.post("fork", b"three ", **TEXT)
    of.post("fork", b"four ", **TEXT)
    deep = {"Stream_Forked_From": f"{STREAMS}/fork", "Stream_Fork_Offset": inner, **TEXT}
    of.put("deep", **deep)
    of.post("deep", b"!", **TEXT)
    of.put("inside", Stream_Fork_Offset=second, Stream_Fork_Sub_Offset="1", **source)
    of.put("orphaned", b"from the source ", **TEXT)
    of.put("orphan", Stream_Forked_From=f"{STREAMS}/orphaned", **TEXT)
    of.post("orphan", b"and its own", **TEXT)
    of.send("DELETE", "orphaned")


def producers(of: Writer) -> None:
    """Producers in several epochs, one of them with a number that is no longer the first."""
    of.put("produced", **JSON)
    for n in range(3):
        of.post("produced", b"%d" % n, **JSON, **stamp("a", 0, n))
    for epoch in (0, 2):
        of.post("produced", b"10", **JSON, **stamp("b", epoch, 0))
    of.post("produced", b"11", **JSON, **stamp("b", 2, 1))
    of.post("ordered", b"b", Stream_Seq="0002", **TEXT, **stamp("c", 1, 0))


def runs(of: Writer) -> None:
    """A run of an application, and a chat, by the library."""

    async def words(_: object = None) -> AsyncIterator[str]:
        for word in ("Once ", "upon ", "a time"):
            yield word

    async def play() -> None:
        async with seen.runs_of(of.served) as made:
            await made.start("story", words())
            message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "A story?"}]}
            answer = await Chats(made).send("chat", message, words)
            assert b"upon" in b"".join([part async for part in answer.body])

    asyncio.run(play())


def answers(of: Writer) -> None:
    """Answers of a model, and of an upstream of a proxy."""
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "?"}]}
    for name, key in (("", "key-1"), ("chat-31", "chat-31/1"), ("chat-31", "chat-31/2")):
        fields = {"Idempotency_Key": key, "Authorization": "Bearer sk-0123", **JSON}
        if name:
            fields["Headgate_Stream"] = name
        request = json.dumps({**body, "n": 1, "user": key}).encode()
        answer = of.served.stream("POST", "/openai/v1/chat/completions", request, **fields)
        assert answer.status == 200, answer.body
        of.told.setdefault("answers", {})[key] = {
            "fields": fields,
            "request": request.decode(),
            "body": answer.body.decode(),
        }
    owner = {"Authorization": "Bearer sk-0123", **JSON}
    request = json.dumps({"model": "m", "stream": True, "input": "?"}).encode()
    assert of.served.stream("POST", "/openai/v1/responses", request, **owner).status == 200
    proxied(of)


def proxied(of: Writer) -> None:
    """Call an upstream by a proxy."""
    upstream = {"Upstream_URL": f"http://{UPSTREAM}/file", "Upstream_Method": "POST"}
    answer = of.served.stream("POST", "/v1/proxy", b"?", **upstream, **BYTES)
    assert answer.status == 201, answer.body
    url = answer.fields["Location"]
    of.told["proxied"] = url[url.index("/v1/proxy") :]


def subscriptions(of: Writer, receiver: Receiver) -> None:
    """Subscriptions of each kind; what is acknowledged so far."""
    of.put("wake/pool", **JSON)
    of.put("wake/names", **JSON)
    hook = {"url": receiver.url("/hook")}
    of.subscribe("hook", type="webhook", pattern="events/*", webhook=hook, description="for mail")
    leased = {"url": receiver.url("/leased")}
    of.subscribe("leased", type="webhook", streams=["notes"], webhook=leased, lease_ttl_ms=LEASE_MS)
    of.subscribe("paused", type="webhook", pattern="late/**", webhook=hook)
    pool = {"type": "pull-wake", "wake_stream": "wake/pool", "lease_ttl_ms": LEASE_MS}
    of.subscribe("pool", pattern="work/*", **pool)
    names = {"type": "pull-wake", "wake_stream": "wake/names"}
    of.subscribe("names", streams=["events", "later", "closed/later"], **names)
    of.served.console("POST", "subscription/pause", {"route": STREAMS, "id": "paused"})
    of.put("events/1", b"1", **JSON)
    of.put("work/1", b"a", **TEXT)
    of.put("work/2", b"b", **TEXT)
    _finish(of, "pool")
    wait_until(lambda: not _pending(of.served, "hook"), "the webhook to be acknowledged")


def _pending(served: Served, name: str) -> int:
    row = served.console("GET", "subscription", route=STREAMS, id=name)["row"]
    found: int = row["pending"]
    return found


def _claim(of: Writer, name: str) -> Any:
    answer = of.served.subscription("POST", f"subscriptions/{name}/claim", {"worker": "worker-1"})
    assert answer.status == 200, answer.body
    return answer.document


def _finish(of: Writer, name: str) -> None:
    """Claim, acknowledge everything, and be done."""
    claim = _claim(of, name)
    acks = [{"stream": it["path"], "offset": it["tail_offset"]} for it in claim["streams"]]
    document = {"wake_id": claim["wake_id"], "generation": claim["generation"], "done": True}
    token = {"Authorization": f"Bearer {claim['token']}"}
    place = f"subscriptions/{name}/ack"
    answer = of.served.subscription("POST", place, {**document, "acks": acks}, **token)
    assert answer.status == 200, answer.body


def begin_answer(of: Writer) -> None:
    """Begin an answer of a model that never ends."""
    fields = {"Idempotency-Key": "slow", "Authorization": "Bearer sk-0123"}
    body = json.dumps({"model": "slow", "stream": True, "messages": []})
    connection = http.client.HTTPConnection("127.0.0.1", of.served.server.port)
    with contextlib.closing(connection):
        headers = {**fields, "Content-Type": "application/json"}
        connection.request("POST", "/openai/v1/chat/completions", body, headers)
        assert connection.getresponse().readline() == EVENTS.split(b"\n")[0] + b"\n"
    of.told["unfinished"] = {"fields": {**fields, **JSON}, "request": body}


# ---- what is done after its next start, before it is killed


def later(of: Writer, receiver: Receiver) -> None:
    """Append what is in the newest part of the data only, and leave work undone."""
    of.post("notes", b"four ", b"five", **TEXT)
    of.post("events", b'{"later": true}', **JSON)
    of.post("produced", b"3", **JSON, **stamp("a", 0, 3))
    of.post("produced", b"20", **JSON, **stamp("d", 7, 0))
    of.post("fork", b"five", **TEXT)
    of.put("late", b"after the start", **TEXT)
    of.put("late/closed", b"x", **TEXT)
    of.post("late/closed", b"y", Stream_Closed="true", **TEXT)
    of.post(f"{KEPT}/log", b"the last\n", **TEXT)

    receiver.status = 503
    of.post("events/1", b"2", **JSON)
    of.put("events/2", b"3", **JSON)
    wait_until(lambda: _failed(of.served, "hook"), "the webhook to fail")
    wait_until(lambda: "/leased" in receiver.wakes, "the wake of the leased webhook")
    of.told["leased"] = receiver.wakes["/leased"]
    of.post("work/1", b"aa", **TEXT)
    of.post("work/2", b"bb", **TEXT)
    claim = of.told["pool"] = _claim(of, "pool")
    first = claim["streams"][0]
    acks = [{"stream": first["path"], "offset": first["tail_offset"]}]
    document = {"wake_id": claim["wake_id"], "generation": claim["generation"], "acks": acks}
    token = {"Authorization": f"Bearer {claim['token']}"}
    answer = of.served.subscription("POST", "subscriptions/pool/ack", document, **token)
    assert answer.status == 200, answer.body
    begin_answer(of)
    ban = {"kind": "principal", "value": "token banned", "seconds": 300 * 86_400, "status": 403}
    of.served.console("POST", "bans", ban)


def _failed(served: Served, name: str) -> bool:
    found = served.console("GET", "subscription", route=STREAMS, id=name)
    return found["row"]["failures"] > 0 and found["next_attempt_at"] is not None


# ---- access


def make_access(folder: Path) -> str:
    """Make tokens and keys by the commands, as operators do; return a read token."""
    folder.mkdir()
    entries = []
    for name, operations in (
        ("all", ["read", "append", "create", "close", "delete"]),
        ("reader", ["read"]),
        ("revoked", ["read"]),
        ("banned", ["read"]),
    ):
        digest = command("token", "hash", data=f"{TOKENS[name]}\n".encode()).decode().strip()
        streams = f"{STREAMS}/*" if name != "reader" else f"{STREAMS}/notes"
        grants = f"[{{ streams = {json.dumps(streams)}, operations = {json.dumps(operations)} }}]"
        entries.append(f'[[tokens]]\nname = "{name}"\ntoken = "{digest}"\ngrants = {grants}\n')
    entries[1] += "expires = 2099-12-31T00:00:00Z\n"
    (folder / "tokens.toml").write_text("# who may what\n" + "\n".join(entries))
    command("token", "keys", folder / "keys.json")
    secret = folder / "proxy.secret"
    secret.write_text("fixture-" * 8)
    secret.chmod(0o600)
    settings = folder / "for-commands.toml"
    settings.write_text(
        f'[credentials]\ntokens_file = "{folder}/tokens.toml"\nkeys_file = "{folder}/keys.json"\n'
        f'read_token_max_age = 86400\n[[routes]]\nprefix = "{STREAMS}"\nstorage = "memory:"\n'
        'auth = ["tokens", "read-tokens"]\nvisibility = "private"\nreader_keys = "on"\n'
    )
    config = ("--config", settings)
    command("token", "revoke", "name", "revoked", *config)
    command("token", "revoke", "jti", "0123456789", *config)
    command("token", "rotate", f"{STREAMS}/notes", *config)
    signed = command(
        *("token", "sign", f"{STREAMS}/notes", "--subject", "ann", "--for", "24h"), *config
    )
    settings.unlink()
    return signed.decode().strip()


# ---- fixtures


def play(place: Place) -> Writer:
    """Play the scene at a place: a start, a stop, another start, and a kill."""
    with receiving(place.hook) as receiver, upstream():
        with serving(place) as served:
            of = Writer(served, place)
            for part in (contents, lifetimes, forks, producers, runs, answers):
                part(of)
            subscriptions(of, receiver)
            assert served.server.terminate() == 0
        with serving(place) as of.served:
            later(of, receiver)
    return of


def read(place: Place, of: Writer, made_at: float) -> dict[str, Any]:
    """Return what is read of all that was done, and what a reading has to know for that."""
    offsets = {path: sorted(some) for path, some in of.offsets.items()}
    known = {"made at": made_at, "told": of.told, "offsets": offsets, "producers": of.producers}
    with serving(place) as served:
        seen.wait_for_owner(served)
        return {**known, **seen.everything(served, known)}


def make_contexts(folder: Path) -> None:
    """Name servers, as users do; the file is made in this folder."""
    url = "https://streams.example.com/v1/stream"
    for words in (
        ("add", "production", url, "--admin", "https://streams.example.com:4439"),
        ("add", "here", "http://127.0.0.1:4437/v1/stream"),
        ("use", "production"),
    ):
        command("config", "context", *words, environment={"XDG_CONFIG_HOME": str(folder)})


def main(version: str) -> None:
    """Make the fixtures of a version."""
    target = FIXTURES / version
    target.mkdir()  # what is there already is in use by tests, and perhaps out in the world
    expected: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="headgate-formats-") as name:
        folder = Path(name)
        access = folder / "access"
        signed = make_access(access)
        make_contexts(access)

        made = folder / "folder"
        made.mkdir()
        place = Place(f"file:{made}/streams", f"file:{made}/kept", access)
        of = play(place)
        of.told["signed"] = signed
        made_at = time.time()  # noqa: TID251 - the servers read it themselves
        pack(made, target / "folder.tar.xz")
        backup = folder / "backup"
        backup.mkdir(mode=0o700)
        with serving(place):  # a backup is made while the server goes on
            for route in ("streams", "kept"):
                command("data", "backup", made / route, backup / route)
        pack(backup, target / "backup.tar.xz")
        copy = unpack(version, "folder", folder / "copy")
        place = Place(f"file:{copy}/streams", f"file:{copy}/kept", access)
        expected["folder"] = read(place, of, made_at)

        with redis_server(folder / "redis") as redis:
            place = Place(f"{redis.url}?prefix=s", f"{redis.url}?prefix=k", access)
            of = play(place)
            of.told["signed"] = signed
            made_at = time.time()  # noqa: TID251 - as above
            redis.command("SAVE")
        dump = folder / "rdb"
        dump.mkdir()
        shutil.copy(folder / "redis" / "dump.rdb", dump)
        pack(dump, target / "redis.tar.xz")
        unpack(version, "redis", folder / "other")
        with redis_server(folder / "other") as redis:
            place = Place(f"{redis.url}?prefix=s", f"{redis.url}?prefix=k", access)
            expected["redis"] = read(place, of, made_at)

        settings = folder / "settings"
        make_settings(settings)
        command("token", "keys", settings / "keys.json")
        assert left_out(settings) == [], "settings_files.py has not all settings"
        expected["settings"] = {file: values_in(settings / file) for file in FILES}
        pack(settings, target / "settings.tar.xz")
        pack(access, target / "access.tar.xz")
    (target / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
