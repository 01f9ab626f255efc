"""The plan of an append: what is decided once for all appends with equal fields to one path.

The handler of an append applies the rules, and leaves a plan where they admit it. The next append
with the same fields to the same path goes by that plan: straight into the queue of its log. What a
rule has looked at is in the key of the plan; or it is looked at again for each append (`Plans.of`);
or it makes a new table, as a reload does. Refusals leave no plan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.access.principal import Principal
from gateway.hosted.route import HostedRoute
from gateway.protocol.bodies.content import media_type
from gateway.protocol.requests import AppendHead
from gateway.runtime.request_fields import RequestFields
from gateway.web.requests.aging_table import AgingTable

if TYPE_CHECKING:
    from gateway.runtime.context import Context
    from gateway.web.requests.blocks import KnownRequest

MOST_PLANS = 8192  # 4 MB
LONGEST_PATH = 1024  # of a plan's key


class Plan(msgspec.Struct, frozen=True, gc=False, eq=False):
    """The way of an append with these fields to this path. It holds nothing that can change."""

    route: HostedRoute
    name: str
    fields: RequestFields
    head: AppendHead
    media: str | None  # None if `AppendBatch.decide` has to decide
    principal: Principal | None


def plan_of(
    route: HostedRoute,
    name: str,
    fields: RequestFields,
    head: AppendHead,
    principal: Principal | None,
) -> Plan:
    """Return the plan of an append that was admitted."""
    media = None
    if head.content_type is not None and not (head.close or head.is_multi):
        media = media_type(head.content_type)
    return Plan(route, name, fields, head, media, principal)


class Plans:
    """The plans of one configuration; a reload makes a new table."""

    def __init__(self) -> None:
        self._table: AgingTable[tuple[str, RequestFields], Plan] = AgingTable(MOST_PLANS)

    def __len__(self) -> int:
        return len(self._table)

    def add(self, path: str, plan: Plan) -> None:
        """Remember a plan for requests to a path without a query, which may have a token."""
        if plan.fields.are_known and "?" not in path and len(path) <= LONGEST_PATH:
            self._table.add((path, plan.fields), plan)

    def of(self, request: KnownRequest, shared: Context) -> Plan | None:
        """Return the plan of a request, if there is one and its credential has not ended.

        Return None while a ban, overload, a quota or an incomplete body requires the handler.
        """
        if shared.bans.in_force or shared.shedding.level:
            return None
        if shared.limits.receiving_bytes or shared.quotas.bounds_appends:
            return None
        key = request.path, request.fields
        plan = self._table.fresh.get(key) or self._table.find(key)
        if plan is None:
            return None
        principal = plan.principal
        if principal is not None:
            now = shared.clock()
            if principal.until <= now:
                self._table.drop(key)
                return None
            principal.use.at = now
        return plan
