"""What is done with the streams of a fixture once they are read: they go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.formats.served import STREAMS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.formats.served import Served

MORE = b"99"  # text and JSON


def go_on(served: Served, known: Mapping[str, Any]) -> dict[str, bytes]:
    """Append to each open stream; return what is read from each former end, by its URL."""
    found = {}
    for path, one in known["lasting"]["streams"].items():
        head = served.stream("HEAD", path)
        if not one["head"].startswith("200") or head.fields["Stream-Closed"]:
            continue
        content_type = head.fields["Content-Type"]
        answer = served.stream("POST", path, MORE, Content_Type=content_type)
        assert answer.status == 204, f"{path}: {answer.status} {answer.body.decode()}"
        url = f"{path}?offset={head.fields['Stream-Next-Offset']}"
        found[url] = served.stream("GET", url).body
        assert found[url].strip(b"[]") == MORE, url
        fork = {"Stream_Forked_From": path, "Content_Type": content_type}
        if path.startswith(STREAMS):
            assert served.stream("PUT", f"{path}/forked", **fork).status == 201
            at_fork = served.stream("GET", f"{path}/forked?offset=-1")
            assert at_fork.body == served.stream("GET", f"{path}?offset=-1").body
    return found


def create_again(served: Served, known: Mapping[str, Any]) -> None:
    """Create a stream where one was deleted, whose offsets mean nothing there."""
    path = f"{STREAMS}/deleted"
    assert served.stream("PUT", path, MORE, Content_Type="text/plain").status == 201
    for offset in known["offsets"][path]:
        status = served.stream("GET", f"{path}?offset={offset}").status
        assert status == (200 if offset == "-1" else 410), offset


def produce(served: Served, known: Mapping[str, Any]) -> None:
    """Have each producer of an open stream send its next append."""
    for name, last in known["producers"].items():
        if served.stream("HEAD", last["path"]).fields["Stream-Closed"]:
            continue
        seq = f"{int(last['fields']['Producer_Seq']) + 1}"
        fields = {**last["fields"], "Producer_Seq": seq}
        if "Stream_Seq" in fields:
            assert served.stream("POST", last["path"], MORE, **fields).status == 409, name
            fields["Stream_Seq"] += "1"
        answer = served.stream("POST", last["path"], MORE, **fields)
        assert (answer.status, answer.fields["Producer-Seq"]) == (200, seq), name


def work(served: Served, known: Mapping[str, Any]) -> None:
    """Claim the work that nobody has begun, acknowledge it, and get what comes afterwards."""
    links = known["lasting"]["subscriptions"]["names"]["links"]
    waiting = [it for it in links if it["is_pending"]]
    claim = served.subscription("POST", "subscriptions/names/claim", {"worker": "later"}).document
    found = [(it["path"], it["acked_offset"]) for it in claim["streams"] if it["has_pending"]]
    assert found == [(it["stream"], it["acked"]) for it in waiting]
    finish(served, "names/ack", claim, claim["token"])
    (name,) = {it["stream"] for it in waiting}
    served.stream("POST", f"{STREAMS}/{name}", MORE, Content_Type="application/json")
    again = served.subscription("POST", "subscriptions/names/claim", {"worker": "later"}).document
    assert again["generation"] > claim["generation"]


def finish(served: Served, place: str, wake: Mapping[str, Any], token: str) -> None:
    """Acknowledge all of a wake, with its token."""
    acks = [{"stream": it["path"], "offset": it["tail_offset"]} for it in wake["streams"]]
    document = {"wake_id": wake["wake_id"], "generation": wake["generation"], "done": True}
    authorization = {"Authorization": f"Bearer {token}"}
    whole = {**document, "acks": acks}
    answer = served.subscription("POST", f"subscriptions/{place}", whole, **authorization)
    assert answer.status == 200, answer.body.decode()
