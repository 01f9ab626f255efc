"""Many principals that ask for each other's streams: nobody may get what a plan has for another.

The requests of all come mixed on a few connections, with fields that come again and again, while
tokens are renewed and revoked and the configuration is loaded again.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

from headgate_gateway import app
from headgate_gateway.routes.router import Router
from headgate_gateway.web.asks.plans import Plans
from headgate_gateway.web.connections.fast_path import FastPath
from tests.support.crowd import Crowd
from tests.support.guarded_gateway import EVERYTHING, look_at_files
from tests.support.serving import EDGE, PREFIX, edge_serving, get, post, put, request, serving
from tests.support.tokens_files import static_token

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.serving import Serving

PEOPLE = 50
STREAMS = 3  # of each
CONNECTIONS = 16
BEFORE_A_CHANGE = 400  # rounds between two changes of tokens or of the configuration


class Found(NamedTuple):
    """What came of the requests: how many there were, were allowed, and went to the wrong one."""

    asked: int
    allowed: int
    crossed: list[str]


class Asked(NamedTuple):
    """A request, and what has to become of it; `owner` is None on the open route."""

    data: bytes
    method: str
    owner: int | None
    is_allowed: bool


class Tokens:
    """The tokens of all, of which some are revoked for a while."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "tokens.toml"
        self.versions = [0] * PEOPLE
        self.revoked: set[int] = set()
        self.write()

    def token(self, person: int, *, old: bool = False) -> str:
        """Return a person's token, or the one before that."""
        return f"token-of-{person}-{self.versions[person] - old}-0123456789abcdef"

    def write(self) -> None:
        """Write the file with the tokens that count."""
        entries = [
            static_token(str(it), self.token(it), f"{PREFIX}/{it}/*", operations=EVERYTHING)
            for it in range(PEOPLE)
            if it not in self.revoked
        ]
        new = self.path.with_suffix(".new")
        new.write_text("\n".join(entries))
        new.replace(self.path)

    def change(self, chance: random.Random) -> None:
        """Renew some tokens, revoke some, and give some back."""
        for _ in range(5):
            self.versions[chance.randrange(PEOPLE)] += 1
        self.revoked = {chance.randrange(PEOPLE) for _ in range(5)}
        self.write()


def mark(owner: int | None) -> bytes:
    """Return what is written to the streams of an owner, and to no others."""
    return b"(nobody)" if owner is None else b"(%d)" % owner


def made(chance: random.Random, tokens: Tokens, number: int) -> Asked:
    """Return a request of anybody for a stream of anybody, mostly its own."""
    person = chance.randrange(PEOPLE)
    owner = person if chance.random() < 0.7 else chance.randrange(PEOPLE)
    kind = chance.choices(["good", "none", "old"], [90, 5, 5])[0]
    is_open = chance.random() < 0.1
    lines = [chance.choice(["Accept: */*", "Accept: text/plain", f"X-Request-Id: r{number}"])]
    if kind != "none":
        lines.append(f"Authorization: Bearer {tokens.token(person, old=kind == 'old')}")
    name = f"{EDGE if is_open else f'{PREFIX}/{owner}'}/s{chance.randrange(STREAMS)}"
    method = chance.choices(["POST", "GET", "HEAD", "PUT"], [40, 40, 10, 10])[0]
    body = mark(None if is_open else owner)
    if method == "PUT" and chance.random() < 0.5:
        name += f"-{number}"  # which is not there yet: it is created by a plan
    data = {
        "POST": post(name, body, *lines),
        "GET": get(f"{name}?offset=-1", *lines),
        "HEAD": request("HEAD", name, *lines),
        "PUT": put(name, *lines),
    }[method]
    may = kind == "good" and person == owner and person not in tokens.revoked
    return Asked(data, method, None if is_open else owner, is_open or may)


def fault(asked: Asked, answer: bytes) -> str | None:
    """Return what is wrong with an answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head[9:12])
    if (status < 300) is not asked.is_allowed or (status >= 300 and status not in {401, 403}):
        return f"{status} instead of {'2xx' if asked.is_allowed else '401 or 403'}"
    its = mark(asked.owner)
    if asked.method == "GET" and status == 200 and body.count(its) * len(its) != len(body):
        return f"not only {its.decode()}: {body[:99].decode()}"
    return None


def load_again(gateway: Serving) -> None:
    """Serve the same routes by a new table of plans, as after a reload."""
    plans = Plans(Router(list(gateway.routes)))
    handlers = app.handlers_of(plans, gateway.services)
    gateway.server.serve(handlers, FastPath(plans, gateway.services), 60.0)


async def create_all(gateway: Serving, tokens: Tokens) -> None:
    """Create the streams of all, and those of nobody."""
    for number in range(STREAMS):
        await gateway.ask(put(f"{EDGE}/s{number}"))
        for person in range(PEOPLE):
            line = f"Authorization: Bearer {tokens.token(person)}"
            await gateway.ask(put(f"{PREFIX}/{person}/s{number}", line))


async def crossed(folder: Path, requests: int, seed: int) -> Found:
    """Send so many requests, and compare each answer with what its principal may have."""
    chance, tokens = random.Random(seed), Tokens(folder)
    asked = allowed = 0
    wrong: list[str] = []
    async with serving() as origin:
        own = {"auth": "tokens"}
        async with edge_serving(origin, own=own, tokens_file=str(tokens.path)) as gateway:
            await create_all(gateway, tokens)
            crowd, rounds = Crowd(gateway, CONNECTIONS), 0
            while asked < requests:
                rounds += 1
                if not rounds % BEFORE_A_CHANGE:
                    tokens.change(chance)
                    await look_at_files(gateway)
                if not rounds % (BEFORE_A_CHANGE * 3):
                    load_again(gateway)
                batch = [made(chance, tokens, asked + number) for number in range(CONNECTIONS)]
                await crowd.ask([one.data for one in batch])
                for one, (_, wire) in zip(batch, crowd.members, strict=True):
                    asked += 1
                    allowed += one.is_allowed
                    why = fault(one, wire.last)
                    if why is not None:
                        wrong.append(f"{one.data.split(b' HTTP')[0].decode()}: {why}")
            crowd.leave()
            planned = len(gateway.server.fast.plans)
    assert planned, "no request went by a plan"
    return Found(asked, allowed, wrong)
