"""What people ask for, in which way, and where their tokens stand."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from tests.edge.identities.origin import BY_ORIGIN, BY_TOKEN, OPEN, SAYS
from tests.edge.identities.people import COOKIE, GROUPS, Person, scopes_of

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

OWN = "/own"
GUARDED = (BY_TOKEN, BY_ORIGIN, OWN)
# Most reads are of what is kept, as they are anywhere; those that wait cost the most.
WAYS = {
    "catch-up": 46,
    "later": 22,
    "condition": 7,
    "stray": 3,
    "range": 3,
    "now": 3,
    "head": 3,
    "long-poll": 6,
    "sse": 6,
}
# One stream is read most, as anywhere.
KINDS = [
    *SAYS,
    *(["nothing"] * 45),
    *(["max-age", "public", "must-revalidate", "s-maxage"] * 3),
    *(["stale", "no-cache"] * 4),
    *(["failing"] * 8),
]
PLACES = {"header": 50, "cookie": 22, "query": 22, "none": 6}
SCOPES = {"all": 85, "group": 11, "one": 4}
CROWDS = (1, 2, 5, 8, 13, 20)  # how many come for the same at the same moment
STRAY_READERS = 0.03  # of all who ask for a stream, so many may not read it
CUSTOM = 0.93  # how often somebody asks as he always does
PLAIN = {"Host": "streams.example"}


class Read(NamedTuple):
    """One request of a person, and what it is of."""

    person: Person
    way: str
    prefix: str
    scope: str
    target: str
    fields: dict[str, str]
    place: str  # of the token

    @property
    def method(self) -> str:
        return "HEAD" if self.way == "head" else "GET"

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def is_failing(self) -> bool:
        return self.path.endswith("/failing")

    @property
    def wire(self) -> bytes:
        lines = "".join(f"{name}: {value}\r\n" for name, value in self.fields.items())
        return f"{self.method} {self.target} HTTP/1.1\r\n{lines}\r\n".encode()


class _Wanted(NamedTuple):
    """What a crowd comes for."""

    prefix: str
    scope: str
    path: str
    way: str
    offset: str


class Asking:
    """Leaves it to chance; `tags` are those that were told to somebody of a path."""

    def __init__(self, chance: random.Random, people: Sequence[Person]) -> None:
        self._chance = chance
        self._people = people
        self.tags: dict[tuple[int, str], str] = {}
        self._permitted = {
            scope: [one for one in people if scope in one.scopes]
            for scope in scopes_of(len(people))
        }

    def crowd(self, prefixes: Sequence[str]) -> list[Read]:
        """Those who come next, all for the same, of some route."""
        chance = self._chance
        prefix = chance.choice(prefixes)
        # Everybody may read an open route, so nothing there tells of a scope.
        scope = "all" if prefix == OPEN else self._scope()
        path = f"{prefix}/{scope}/{'s' if prefix == OWN else chance.choice(KINDS)}"
        way = self._one_of(WAYS)
        wanted = _Wanted(prefix, scope, path, way, self._offset(prefix, way))
        return [self._read(self._reader(scope), wanted) for _ in range(chance.choice(CROWDS))]

    def _one_of(self, weights: dict[str, int]) -> str:
        return self._chance.choices([*weights], [*weights.values()])[0]

    def _scope(self) -> str:
        match self._one_of(SCOPES):
            case "all":
                return "all"
            case "group":
                return f"g{self._chance.randrange(GROUPS)}"
            case _:
                return f"u{self._chance.randrange(len(self._people))}"

    def _reader(self, scope: str) -> Person:
        is_stray = self._chance.random() < STRAY_READERS
        return self._chance.choice(self._people if is_stray else self._permitted[scope])

    def _offset(self, prefix: str, way: str) -> str:
        at = "-1" if prefix == OWN else f"{self._chance.choice([1, 3]):06}_0"
        match way:
            case "later":
                return at
            case "now":
                return "now"
            case "long-poll" | "sse":
                return self._chance.choice(["-1", "now", "now", at])
            case _:
                return "-1"

    def _read(self, person: Person, wanted: _Wanted) -> Read:
        prefix, scope, path, way, _ = wanted
        chance = self._chance
        # A client sends the same head again and again; some send others now and then.
        usual = chance.random() < CUSTOM
        manner = person.number if usual else chance.randrange(100)
        fields = _fields(person, is_long=manner % 5 > 0, says_who=manner % 10 == 1)
        target = f"{path}?{self._query(person, wanted, fields)}"
        place = "none" if prefix == OPEN else "header" if usual else self._one_of(PLACES)
        if prefix == OPEN and not usual:
            fields["Authorization"] = person.mark
        elif place == "header":
            fields["Authorization"] = f"Bearer {person.token}"
        elif place == "cookie":
            fields["Cookie"] = f"{COOKIE}={person.token}"
        elif place == "query":
            target += f"&token={person.token}"
        return Read(person, way, prefix, scope, target, fields, place)

    def _query(self, person: Person, wanted: _Wanted, fields: dict[str, str]) -> str:
        offset = f"offset={wanted.offset}"
        match wanted.way:
            case "long-poll" | "sse":
                return f"cursor={person.cursor}&live={wanted.way}&{offset}"
            case "condition":
                fields["If-None-Match"] = self.tags.get((person.number, wanted.path), "*")
            case "range":
                fields["Range"] = "bytes=1-5"
            case "stray":
                fields["X-Request-Id"] = person.mark
                return f"{offset}&utm_source={person.mark}"
            case _:
                pass
        return offset


def _fields(person: Person, *, is_long: bool, says_who: bool) -> dict[str, str]:
    return dict(_kept_fields(person, is_long, says_who))


@cache
def _kept_fields(person: Person, is_long: bool, says_who: bool) -> dict[str, str]:
    fields = person.fields() if is_long else PLAIN
    return fields | person.says_who if says_who else fields
