"""The plans of requests: the next one like a request that was admitted needs no handler.

The handler of a request applies the rules, and leaves a plan where they admit it. The next append
with the same fields to the same path goes by that plan: straight into the queue of its log. So does
the next creation with the same fields on the same route, and the next read there that an origin has
to answer. What a rule depends on is in the key of the plan; or it is checked again for each request
(`Plans.ask`, `Plans.read`); or it makes a new table, as a reload does. What the rules do not admit
leaves no plan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.access.operations import needs
from headgate_gateway.access.principal import account_of
from headgate_gateway.errors import HeadgateError
from headgate_gateway.web.requests.blocks import AgingTable

if TYPE_CHECKING:
    from headgate_gateway.routes.router import Router
    from headgate_gateway.runtime.request_fields import RequestFields
    from headgate_gateway.web.asks.ask import Ask, Plan
    from headgate_gateway.web.requests.blocks import KnownRequest
    from headgate_gateway.web.requests.request import ClientConnection

MOST_PLANS = 16384  # of writes: 8 MB, as for MOST_BLOCKS
MOST_READ_PLANS = 1024  # a client has one for each route: 4 MB
LONGEST_PATH = 1024  # whose route and plans are remembered
WRITES = ("POST", "PUT")  # methods of requests that may have a plan


class Plans:
    """The plans of one configuration; a reload makes a new table."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self._place = router.place  # caches its results
        self._find_place = router.find_place  # for creations, each of which has a new path
        self._reads: AgingTable[tuple[object, ...], Plan] = AgingTable(MOST_READ_PLANS)
        self.read_routes: set[object] = set()  # with plans for reads
        # Keys of appends begin with a path, those of creations with a route.
        self._writes: AgingTable[tuple[object, ...], Plan] = AgingTable(MOST_PLANS)

    def __len__(self) -> int:
        return len(self._writes) + len(self._reads)

    def add(self, plan: Plan, path: str = "") -> None:
        """Remember a plan for creations, or one for appends to a path that cannot have a token."""
        if _is_decided(plan) and "?" not in path and len(path) <= LONGEST_PATH:
            self._writes.add(plan.key, plan)

    def add_read(self, plan: Plan) -> None:
        """Remember a plan for reads below its route."""
        if _is_decided(plan):
            self._reads.add(plan.key, plan)
            self.read_routes.add(plan.route)

    def of_reads(self, route: object, fields: RequestFields, address: str | None) -> Plan | None:
        """Return the plan for reads below a route with these fields, from an address."""
        return self._reads.find((route, fields, address))

    def read(self, connection: ClientConnection, known: KnownRequest) -> Ask | None:
        """Return the ask of an admitted GET with a plan, unless it needs a handler, as in `ask`."""
        services = connection.services
        if services.shedding.level or services.tracer is not None:
            return None
        path, mark, query = known.path.partition("?")
        try:
            place = self._place(path)
        except HeadgateError:
            return None
        is_planned = place.route in self.read_routes and place.control is None
        if not is_planned or len(path) > LONGEST_PATH:
            return None
        key = place.route, known.fields, connection.wire.peer
        plan = self._reads.fresh.get(key) or self._reads.find(key)
        bans = services.bans
        if plan is None or (
            bans.in_force
            and (plan, connection.wire.peer) not in bans.cleared
            and bans.bans_kind(plan, connection.wire.peer, connection.wire.transport)
        ):
            return None
        return plan.ask(f"{place.path}{mark}{query}", connection, known)

    def ask(
        self,
        connection: ClientConnection,
        known: KnownRequest,
        route: object | None = None,
    ) -> Ask | None:
        """Return the ask of a write that has a plan, and whose credential has not ended.

        Return None for a client that is banned, while overload, a tracer or the size of its body
        requires the handler, for a write beyond a quota, and for a creation on another route than
        a given one. A write that is returned was counted for its client, and the caller begins it.
        """
        services, limits, size = connection.services, connection.services.limits, len(known.body)
        most = min(limits.max_append, limits.max_pending_appends - limits.receiving_bytes)
        if services.shedding.level or services.tracer is not None or size > most:
            return None
        if known.method == "PUT":
            return self._creation(connection, known, route)
        key: tuple[object, ...] = known.path, known.fields
        plan = self._writes.fresh.get(key)
        if plan is None:
            of_address = *key, connection.wire.peer  # an origin gets the address
            plan = self._writes.fresh.get(of_address) or self._find(key, of_address)
        bans = services.bans
        if plan is None or (
            bans.in_force
            and (plan, connection.wire.peer) not in bans.cleared
            and bans.bans_kind(plan, connection.wire.peer, connection.wire.transport)
        ):
            return None
        principal = plan.principal
        if principal is not None:
            now = services.clock()
            if principal.until <= now:
                self._writes.drop(plan.key)
                return None
            principal.use.at = now
        ask = plan.ask("", connection, known)
        if ask is not None and services.quotas.bounds_appends:
            client = connection.wire.transport, known.headers, account_of(principal)
            return ask if services.quotas.admits(*client) else None
        return ask

    def _find(self, key: tuple[object, ...], of_address: tuple[object, ...]) -> Plan | None:
        return self._writes.find(key) or self._writes.find(of_address)

    def _creation(
        self, connection: ClientConnection, known: KnownRequest, route: object | None
    ) -> Ask | None:
        services, path, fields = connection.services, known.path, known.fields
        if "?" in path or len(path) > LONGEST_PATH:
            return None
        try:
            place = self._find_place(path)
        except HeadgateError:
            return None
        key = place.route, fields
        plan, bans = self._writes.fresh.get(key) or self._writes.find(key), services.bans
        is_elsewhere = route is not None and place.route is not route
        if (
            plan is not None
            and bans.in_force
            and (plan, connection.wire.peer) not in bans.cleared
            and bans.bans_kind(plan, connection.wire.peer, connection.wire.transport)
        ):
            plan = None
        if plan is None or place.control is not None or is_elsewhere:
            return None
        guard, principal = place.route.access.guard, plan.principal
        if guard is not None and principal is not None:
            needed = needs("PUT", place.path, fields.headers)
            if not guard.still_admits(principal, needed, services.clock()):
                return None
        ask = plan.ask(place.name, connection, known)
        if ask is not None and services.quotas.bounds_creations:
            client = connection.wire.transport, fields.headers, account_of(principal)
            is_admitted = services.quotas.admits(*client, is_creation=True)
            return ask if is_admitted else None
        return ask


def _is_decided(plan: Plan) -> bool:
    """Return whether requests with the fields of a plan need no guard to decide on them again."""
    fields = plan.fields
    return fields.are_known and (plan.route.access.guard is None or fields.client is not None)
