"""The principal of a request (a verified client, or anybody), and the uses of credentials."""

from __future__ import annotations

from collections import OrderedDict
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple

from typing_extensions import override

from headgate_gateway.errors import Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headgate_gateway.access.operations import Grant, Need


# Static and signed ones each, some 3 MB. A tokens_file has 5,000 at most; of signed tokens, the
# holders verified last stay.
MOST_HOLDERS = 10_000
MOST_PLACES = 4  # of one holder: a reader at home, another outside, and who else has the token
STATIC = "token"  # the first word of the accounts of static tokens
CONSOLE: Final = "console"  # the account of the console itself
LONGEST_SUBJECT = 256  # characters; the console offers no revocation of a longer one


class TokenHolder(NamedTuple):
    """A holder of tokens: `account` is unique, `kind` its first word, `name` for display.

    `subject` is the claim in the signed tokens, unchanged.
    """

    account: str
    name: str
    issuer: str = ""
    subject: str | None = None

    @property
    def kind(self) -> str:
        """The kind of credential."""
        return self.account.partition(" ")[0]


class UsePlace(NamedTuple):
    """An address and a user agent that tokens were used from, and when they were last."""

    address: str
    agent: str
    at: float


class CredentialUse:
    """The use of one holder's tokens; requests set `at` while they are admitted.

    `number` is less than that of every holder that was verified later for the first time. Only the
    event loop touches it. Requests are counted when they have their response, and bytes
    are those of bodies: those of an SSE response count when the console asks, and at its end.
    """

    __slots__ = (
        *("appends", "at", "failures", "forbidden", "holder", "number", "places"),
        *("received_bytes", "refused", "requests", "sent_bytes"),
    )

    def __init__(self, holder: TokenHolder, number: int = 0) -> None:
        self.holder = holder
        self.number = number
        self.requests = 0
        self.appends = 0
        self.failures = 0  # responses with 4xx or 5xx
        self.sent_bytes = 0
        self.received_bytes = 0
        self.at = 0.0  # epoch seconds of the last request; 0 if there was none
        # The newest ones first; empty before they are first looked at (`runtime.loudest`).
        self.places: tuple[UsePlace, ...] = ()
        self.refused = 0  # requests whose token was revoked or had expired
        self.forbidden = 0  # requests for which the grants did not suffice

    def count(self, size: int, *, is_append: bool = False, is_failure: bool = False) -> None:
        """Count a request whose response has a body of `size` bytes."""
        self.requests += 1
        self.sent_bytes += size
        self.appends += is_append
        self.failures += is_failure

    def note_place(self, address: str, agent: str) -> None:
        """Note where one of the last requests came from."""
        others = (it for it in self.places if (it.address, it.agent) != (address, agent))
        self.places = (UsePlace(address, agent, self.at), *others)[:MOST_PLACES]


UNCOUNTED = CredentialUse(TokenHolder("", ""))
"""The use of principals whose requests are not counted: it is written and never read."""


class TokenRefused(Unauthenticated):
    """A token is refused whose holder is known: its signature or its hash is right."""

    def __init__(self, detail: str, holder: TokenHolder) -> None:
        super().__init__(detail, is_refused=True)
        self.holder = holder


class CredentialUses:
    """The uses in this process since its start, by account."""

    def __init__(self) -> None:
        self.static: OrderedDict[str, CredentialUse] = OrderedDict()
        self.signed: OrderedDict[str, CredentialUse] = OrderedDict()
        self.unknown = 0  # refused tokens of unknown holders
        self._numbers = count()

    def __iter__(self) -> Iterator[CredentialUse]:
        """Iterate over a copy, those of static tokens first."""
        return iter([*self.static.values(), *self.signed.values()])

    def of(self, holder: TokenHolder) -> CredentialUse:
        """Return the use of a holder; the one that was verified longest ago may be dropped."""
        uses = self.static if holder.kind == STATIC else self.signed
        use = uses.pop(holder.account, None) or CredentialUse(holder, next(self._numbers))
        uses[holder.account] = use
        if len(uses) > MOST_HOLDERS:
            uses.popitem(last=False)
        return use


class Principal:
    """The client of a request, with what it may do until a moment (epoch seconds).

    `until` becomes 0 when the credential is revoked, so it is compared with the clock at each use.
    `name` is for display, and two principals may share it. `account` is unique: it is the same for
    all credentials of one kind that one client has. `digest` is a keyed hash of the credential.
    `proof` is what the authority has verified, and checks again after a change of keys or files.
    `use` is where each admitted request notes its time.
    """

    __slots__ = ("__weakref__", "account", "digest", "grants", "name", "proof", "until", "use")

    def __init__(
        self,
        name: str,
        grants: Sequence[Grant],
        until: float,
        *,
        proof: object = None,
        digest: bytes = b"",
        account: str = "",
    ) -> None:
        self.name = name
        self.grants = tuple(grants)
        self.until = until
        self.proof = proof
        self.digest = digest
        self.account = account
        self.use = UNCOUNTED

    @override
    def __repr__(self) -> str:
        return f"Principal({self.name!r}, until={self.until})"

    @property
    def is_anybody(self) -> bool:
        """True if the principal stands for everybody: it has no credential that could end."""
        return not self.digest and self.until == inf

    def may(self, need: Need) -> bool:
        """Return whether all operations of `need` are granted, by one grant or several."""
        granted = [grant.operations for grant in self.grants if grant.covers(need.path)]
        return need.operations <= frozenset().union(*granted)


def account_of(principal: Principal | None) -> str:
    """Return the account of a principal; "" if there is none."""
    return "" if principal is None else principal.account
