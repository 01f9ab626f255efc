"""Tracing, which only the environment turns on, and the request that a task answers.

Nothing of OpenTelemetry is imported here: without its variables a gateway does not need it.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING

from headgate_gateway.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from headgate_gateway.telemetry.spans import RequestSpan, Tracer

EXPORTER = "OTEL_TRACES_EXPORTER"
_ASKING = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", EXPORTER)
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
SPOKEN = "http/protobuf"


current: ContextVar[RequestSpan | None] = ContextVar("current", default=None)


def is_enabled(environment: Mapping[str, str]) -> bool:
    """Return whether the variables of OpenTelemetry ask for spans; an empty one is as none."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if environment.get(EXPORTER, "").strip() == "none":
        return False
    return any(environment.get(name, "").strip() for name in _ASKING)


def start(environment: Mapping[str, str]) -> Tracer | None:
    """Return the tracer, which also exports; None if no spans are wanted. Raises StartError."""
    if not is_enabled(environment):
        return None
    exporter = environment.get(EXPORTER, "").strip() or "otlp"
    if exporter != "otlp":
        raise StartError(f"{EXPORTER} is {exporter}: it can be otlp or none")
    for name in _PROTOCOLS:
        protocol = environment.get(name, "").strip() or SPOKEN
        if protocol != SPOKEN:
            raise StartError(f"{name} is {protocol}: only {SPOKEN} is spoken here")
    try:
        from headgate_gateway.telemetry.spans import Tracer
    except ModuleNotFoundError as error:
        raise StartError(
            "OTEL_* variables ask for traces, but OpenTelemetry is not installed:"
            " install headgate[otel], or set OTEL_SDK_DISABLED=true"
        ) from error
    return Tracer()


def own_context() -> Context | None:
    """Return a context for what begins for the request that is being answered, if it is traced.

    Else its resumption would count as a part of that request.
    """
    return None if current.get() is None else copy_context()


@contextmanager
def detached() -> Iterator[None]:
    """Detach what begins in the block from the present request: it goes on for many."""
    token = current.set(None)
    try:
        yield
    finally:
        current.reset(token)


def waits() -> None:
    """End the span of the present request, which goes on waiting for news."""
    span = current.get()
    if span is not None:
        span.waits()


def shares(leader: RequestSpan | None) -> None:
    """Link the present request to `leader`, whose result from the origin it shares."""
    span = current.get()
    if span is not None and leader is not None:
        span.link(leader)
