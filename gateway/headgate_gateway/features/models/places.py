"""The places of completions that run at once, and of requests that are passed on."""

from __future__ import annotations

import contextlib
import secrets
from collections import Counter, OrderedDict
from hashlib import blake2b
from http import HTTPStatus
from typing import TYPE_CHECKING

from headgate_gateway.errors import ClientLimitReached, LimitReached

if TYPE_CHECKING:
    from collections.abc import Iterator

# Keys that a provider has accepted: 1.5 MB with their digests. One that was dropped counts for its
# client's address until it is accepted again.
MOST_ACCEPTED = 10_000
_REFUSING = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


class TakenPlace:
    """The place of a running completion; `party` is its owner, or a client's address."""

    __slots__ = ("owner", "party")

    def __init__(self, owner: bytes, party: bytes | str) -> None:
        self.owner = owner
        self.party = party


class CompletionPlaces:
    """The places of completions that run at once, of which one party has some at most.

    Anybody can make up keys of a provider. So a key counts for the address of its client until the
    provider has accepted it, and one address leaves half of the places to others.
    """

    _when_full = "max_answers is reached: as many answers run as may at once"
    _client_setting, _advice = "max_client_answers", "wait for an answer to end"

    def __init__(self, most: int, most_of_owner: int) -> None:
        """Let so many completions run at once, in all and for one owner."""
        self.refused_requests = 0
        self._most, self._most_of_owner = most, most_of_owner
        self._most_of_address = min(most_of_owner, max(1, most // 2))
        self._taken = 0
        self._parties: Counter[bytes | str] = Counter()
        self._secret = secrets.token_bytes(32)
        self._accepted: OrderedDict[bytes, None] = OrderedDict()  # digests, the last used ones last
        # Parties with a body that is decoded without a place.
        self._beyond: set[bytes | str] = set()

    @contextlib.contextmanager
    def acquired(self, owner: bytes, address: str = "") -> Iterator[TakenPlace]:
        """Enter with a place for an owner, b"" for nobody; it is given back if the block raises.

        `address` is that of a client with a provider's key of its own, or without any; it is ""
        if the owner is known, or if all callers use the key of the route. Raises LimitReached,
        ClientLimitReached.
        """
        place = TakenPlace(owner, self._party_of(owner, address))
        if (refusal := self._refusal(place)) is not None:
            self.refused_requests += 1
            raise refusal
        self._taken += 1
        self._parties[place.party] += 1
        try:
            yield place
        except BaseException:
            self.release(place)
            raise

    @contextlib.contextmanager
    def for_decoding(self, owner: bytes, address: str, *, may_join: bool) -> Iterator[bytes | str]:
        """Enter with a place while a body is decoded, and with the party that it counts for.

        A request that `may_join` a running completion needs no place then. So one such body of each
        party is decoded where all places are taken. Raises as `acquired` does.
        """
        party = self._party_of(owner, address)
        is_full = self._refusal(TakenPlace(owner, party)) is not None
        if is_full and may_join and party not in self._beyond:
            self._beyond.add(party)
            try:
                yield party
            finally:
                self._beyond.discard(party)
        else:
            with self.acquired(owner, address) as place:
                yield party
            self.release(place)

    def _party_of(self, owner: bytes, address: str) -> bytes | str:
        return address if address and not self._is_accepted(owner) else owner

    def _refusal(self, place: TakenPlace) -> LimitReached | ClientLimitReached | None:
        """Return why there is no place for a party."""
        if self._taken >= self._most:
            return LimitReached(self._when_full)
        most, whose = self._most_of_owner, ""
        if place.party != place.owner:
            most = self._most_of_address
            whose = " by your address, with keys that the provider has not accepted yet"
        if place.party and self._parties[place.party] >= most:
            return ClientLimitReached(f"{self._client_setting} is reached{whose}: {self._advice}")
        return None

    @property
    def taken(self) -> int:
        """The number of places that are taken."""
        return self._taken

    def release(self, place: TakenPlace) -> None:
        """Give back a place."""
        self._taken -= 1
        self._leave(place.party)

    def note_status(self, place: TakenPlace, status: int) -> None:
        """Note whether the provider has accepted the key with which it answers this status.

        From then on the place counts for the key.
        """
        if status in _REFUSING:
            self._accepted.pop(self._digest(place.owner), None)
        if status // 100 != 2 or not place.owner or place.party == place.owner:
            return
        self._accepted[self._digest(place.owner)] = None
        if len(self._accepted) > MOST_ACCEPTED:
            self._accepted.popitem(last=False)
        self._leave(place.party)
        place.party = place.owner
        self._parties[place.party] += 1

    def _leave(self, party: bytes | str) -> None:
        self._parties[party] -= 1
        if not self._parties[party]:
            del self._parties[party]

    def _is_accepted(self, owner: bytes) -> bool:
        digest = self._digest(owner)
        if digest not in self._accepted:
            return False
        self._accepted.move_to_end(digest)
        return True

    def _digest(self, owner: bytes) -> bytes:
        return blake2b(owner, key=self._secret, digest_size=16).digest()


class PassedPlaces(CompletionPlaces):
    """The places of requests that are passed on at once and do not ask for a completion.

    Embeddings and polls of an application so take no places of its completions. A provider may let
    anybody read something with any key: this accepts the key for these places alone.
    """

    _when_full = "max_passed is reached: as many requests are passed on as may be at once"
    _client_setting, _advice = "max_client_passed", "wait for a request to end"
