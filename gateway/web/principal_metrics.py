"""The metrics of principals, which exist only by a setting: each account is a label."""

from __future__ import annotations

from heapq import nsmallest
from operator import attrgetter
from typing import TYPE_CHECKING

from gateway.telemetry.metrics import Metric, Sample, counter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.access.uses.credential_uses import CredentialUse, CredentialUses

OF_ACCOUNT: dict[Metric, Callable[[CredentialUse], float]] = {
    counter(
        "headgate_principal_requests_total",
        "Requests of a principal; needs principal_metrics.",
        "account",
    ): lambda use: use.requests,
    counter(
        "headgate_principal_appends_total",
        "Appends of a principal; needs principal_metrics.",
        "account",
    ): lambda use: use.appends,
    counter(
        "headgate_principal_failures_total",
        "Responses with 4xx or 5xx to a principal; needs principal_metrics.",
        "account",
    ): lambda use: use.failures,
    counter(
        "headgate_principal_sent_bytes_total",
        "Bytes of bodies sent to a principal, those of SSE when they end; needs principal_metrics.",
        "account",
    ): lambda use: use.sent_bytes,
    counter(
        "headgate_principal_received_bytes_total",
        "Bytes of bodies received from a principal; needs principal_metrics.",
        "account",
    ): lambda use: use.received_bytes,
}


def principal_samples(uses: CredentialUses, most: int) -> Iterator[Sample]:
    """Yield the metrics of `most` accounts at most.

    They are those that were known first, so that a series does not end when another one begins.
    """
    for use in nsmallest(most, uses, key=attrgetter("number")):
        for metric, number in OF_ACCOUNT.items():
            yield Sample(metric, (use.holder.account,), float(number(use)))
