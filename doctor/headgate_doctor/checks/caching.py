"""Checks of the keys of caches on the way: by paths, and by credentials."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from headgate_doctor.deployment import DATA
from headgate_doctor.evidence import AnswerSource, source
from headgate_doctor.finding import Finding, failed, noted, passed, unknown
from headgate_doctor.probe_sender import words
from headgate_doctor.server_names import DIGEST_HEADER
from headgate_doctor.streams import NotMade, made_up_cookie, made_up_credential

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headgate_doctor.deployment import Deployment
    from headgate_doctor.probe_sender import ProbeReply
    from headgate_doctor.streams import OwnStream

UNREAD = "4"  # a cursor of which nobody has a copy
REFUSED = {401, 403, 404}
# By `--credentials asked`, which keeps a copy for readers without credentials apart from it.
SHARED_BY_ALL = (
    "readers with credentials share a copy, as the server permits all of them to read; to see that "
    "it refuses others, examine a private route"
)
LEAKS_TAIL = "a reader with no credentials got another's response, which no cache may store"
FIRST_PATH = "/a/b"
OTHER_PATHS = (
    ("/a%2Fb", "-path%2Fb", "a hop decodes the path"),
    ("/a/B", "-path/B", "a hop writes the path in lower case"),
    ("/a%252Fb", "-path%252Fb", "a hop decodes the path"),
    ("/a+b", "-path+b", "a hop takes + for a space, or writes a space as +"),
    ("/a%20b", "-path%20b", "a hop takes + for a space, or writes a space as +"),
    ("/a//b", "-path//b", "a hop merges slashes"),
)
# Many proxies merge slashes by default, and few names have two in a row: this is a note.
MERGED = "/a//b"
# Names that every server has to allow; it may refuse the others.
NEEDED = {"/a%2Fb", "/a/B"}


async def credentials(deployment: Deployment) -> Finding:
    """Check whether a reader gets another's response: two of each kind of credentials, and none.

    The first are the command's own, if any: nobody else may get what they read. As each
    reader is another one, any response from a cache was another reader's. Some read before
    the one with none, and some after: a cache may store either's response for the other.
    """
    own = await deployment.streams.create_closed("-credentials", DATA)
    given = own.stream.authorization
    assert not callable(given), "a command has one credential for as long as it runs"
    readers = {
        "an Authorization": partial(_as_somebody, given or made_up_credential(), None),
        "a Cookie": partial(_as_somebody, None, made_up_cookie()),
        "no credentials": partial(_as_somebody, None, None),
        "another Authorization": partial(_as_somebody, made_up_credential(), None),
        "another Cookie": partial(_as_somebody, None, made_up_cookie()),
    }
    replies = {name: await read(own) for name, read in readers.items()}
    shared = {name for name, reply in replies.items() if source(reply) is AnswerSource.SHARED}
    is_silent = any(
        source(reply) is AnswerSource.UNKNOWN for reply in replies.values() if reply.is_good
    )
    if leaks := [name for name in readers if name in shared and replies[name].is_good]:
        if "no credentials" not in leaks and await _is_open_to_asked(own):
            return noted("credentials", SHARED_BY_ALL)
        saw = f"a reader with {' and one with '.join(leaks)} got another's answer"
        return failed("credentials", saw)
    found = _unshared(list(replies.values()), is_silent=is_silent, is_made_up=given is None)
    if given is None or not found.is_pass or not deployment.reads.appends_arrive:
        return found
    return found if await _is_tail_kept_apart(deployment) else failed("credentials", LEAKS_TAIL)


async def _is_open_to_asked(own: OwnStream) -> bool:
    """Return whether made-up credentials get a response of a rendered file without a copy."""
    query = {"cursor": UNREAD, "offset": own.start}
    reply = await own.asker.send(own.as_somebody(made_up_credential()), "GET", query=query)
    return reply.is_good and DIGEST_HEADER in reply.headers


async def _is_tail_kept_apart(deployment: Deployment) -> bool:
    """Return whether a read without Vary, which no cache may keep, is given to nobody else."""
    own = await deployment.streams.create("-reader")
    await own.append(DATA)
    await own.read({"offset": own.start})
    return source(await _as_somebody(None, None, own)) is not AnswerSource.SHARED


def _unshared(replies: Sequence[ProbeReply], *, is_silent: bool, is_made_up: bool) -> Finding:
    """Return the finding when no response is known to be another reader's."""
    first, *others = replies
    if first.status in REFUSED and is_made_up:
        saw = "made-up credentials are refused: give real ones in STREAM_AUTH"
        return unknown("credentials", saw)
    if not first.is_good:
        return unknown("credentials", f"a read was answered with: {first.error_text}")
    if all(reply.status in REFUSED for reply in others):
        return passed(
            "credentials",
            "readers with other credentials and with none are refused, even where there is a copy",
        )
    if is_silent:
        return unknown("credentials", "nothing says whether an answer comes from a cache")
    saw = "readers with two Authorizations, two Cookies and none each got their own response"
    return passed("credentials", saw)


async def _as_somebody(authorization: str | None, cookie: str | None, own: OwnStream) -> ProbeReply:
    headers = {} if cookie is None else {"Cookie": cookie}
    stream = own.as_somebody(authorization)
    return await own.asker.send(stream, "GET", query={"offset": own.start}, headers=headers)


async def paths(deployment: Deployment) -> Finding:
    """Check that names which a hop may take for one are names of several streams."""
    made = {FIRST_PATH: await deployment.streams.create_closed("-path/b", FIRST_PATH.encode())}
    for name, suffix, fault in OTHER_PATHS:
        try:
            made[name] = await deployment.streams.create_closed(suffix, name.encode())
        except NotMade as refusal:
            if refusal.reply.status in {200, 409}:
                return _taken(name, f"{name} reaches the server as another one: {fault}")
            if name in NEEDED:
                return unknown("paths", f"no stream can be called {name}: {words(refusal)}")
    return await _apart(made)


async def _apart(made: Mapping[str, OwnStream]) -> Finding:
    """Return the finding of reads of streams, each of which has its own name as its data."""
    # By the same query, so that nothing but the path tells them apart.
    starts = {own.start for own in made.values()}
    query = {"offset": starts.pop() if len(starts) == 1 else "-1"}
    for name, own in made.items():
        reply = await own.read(query)
        other = reply.body.decode(errors="replace")
        if other in made and other != name:
            taken = MERGED if other == MERGED else name
            return _taken(taken, f"a read of {name} was answered with what is in {other}")
        if not reply.is_good or other != name:
            return unknown("paths", f"a read of {name} was refused, or has other data")
    *names, last = made
    return passed("paths", f"{', '.join(names)} and {last} are kept apart")


def _taken(name: str, saw: str) -> Finding:
    return noted("paths", saw) if name == MERGED else failed("paths", saw)
