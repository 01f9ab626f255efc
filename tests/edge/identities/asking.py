"""What people ask for, in which way, and where their tokens stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.edge.identities.origin import BY_ORIGIN, BY_TOKEN, OPEN, SAYS
from tests.edge.identities.people import COOKIE, Person, scopes_of

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

OWN = "/own"
GUARDED = (BY_TOKEN, BY_ORIGIN, OWN)
# Most reads are of what is kept, as they are anywhere; those that wait cost the most.
WAYS = {
    "catch-up": 30,
    "later": 20,
    "condition": 15,
    "stray": 8,
    "range": 8,
    "now": 4,
    "head": 4,
    "long-poll": 7,
    "sse": 4,
}
KINDS = [*SAYS, *(["nothing", "max-age", "public", "must-revalidate", "s-maxage"] * 6)]
PLACES = {"header": 70, "cookie": 12, "query": 13, "none": 5}


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


class Asking:
    """Leaves it to chance; `tags` are those that were told to somebody of a path."""

    def __init__(self, chance: random.Random, people: Sequence[Person]) -> None:
        self._chance = chance
        self._people = people
        self.tags: dict[tuple[int, str], str] = {}

    def read(self, prefixes: Sequence[str]) -> Read:
        """The next one, of some route."""
        chance = self._chance
        person, prefix = chance.choice(self._people), chance.choice(prefixes)
        # Everybody may read an open route, so nothing there tells of a scope.
        scope = "all" if prefix == OPEN else self._scope(person)
        path = f"{prefix}/{scope}/{'s' if prefix == OWN else chance.choice(KINDS)}"
        way = self._one_of(WAYS)
        fields = person.fields() if chance.random() < 0.8 else {"Host": "streams.example"}
        if chance.random() < 0.2:
            fields |= person.says_who
        target = f"{path}?{self._query(person, way, fields, path)}"
        place = "none" if prefix == OPEN else self._one_of(PLACES)
        if prefix == OPEN and chance.random() < 0.3:
            fields["Authorization"] = person.mark
        elif place == "header":
            fields["Authorization"] = f"Bearer {person.token}"
        elif place == "cookie":
            fields["Cookie"] = f"{COOKIE}={person.token}"
        elif place == "query":
            target += f"&token={person.token}"
        return Read(person, way, prefix, scope, target, fields, place)

    def _one_of(self, weights: dict[str, int]) -> str:
        return self._chance.choices([*weights], [*weights.values()])[0]

    def _scope(self, person: Person) -> str:
        if self._chance.random() < 0.93:
            return self._chance.choice(("all", "all", "all", *person.scopes))
        return self._chance.choice(scopes_of(len(self._people)))

    def _query(self, person: Person, way: str, fields: dict[str, str], path: str) -> str:
        at = f"offset={self._chance.choice([1, 3]):06}_0" if OWN not in path else "offset=-1"
        match way:
            case "later":
                return at
            case "now":
                return "offset=now"
            case "long-poll" | "sse":
                offset = self._chance.choice(["offset=-1", "offset=now", "offset=now", at])
                return f"cursor={person.cursor}&live={way}&{offset}"
            case "condition":
                fields["If-None-Match"] = self.tags.get((person.number, path), "*")
            case "range":
                fields["Range"] = "bytes=1-5"
            case "stray":
                fields["X-Request-Id"] = person.mark
                return f"offset=-1&utm_source={person.mark}"
            case _:
                pass
        return "offset=-1"
