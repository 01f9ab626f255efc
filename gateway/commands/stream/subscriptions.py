"""The commands on subscriptions, as the command line declares them."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

import click

from gateway.commands.options.admin_target import on_admin_listener
from gateway.commands.stream.streams import result_option
from gateway.tools.shell.times import age_s

if TYPE_CHECKING:
    from gateway.commands.stream.subscription_requests import NamedSubscription
    from gateway.tools.server.target import StreamTarget

SubscriptionCommand: TypeAlias = Callable[..., Coroutine[Any, Any, None]]

route_option = click.option(
    "--route",
    metavar="PREFIX",
    help="Prefix of the route, such as /v1/stream.  [default: the path of the server's URL]",
)


def on_subscription(command: SubscriptionCommand) -> Callable[..., None]:
    """Add the id of a subscription, and the options that say where it is.

    The command gets the admin API and the subscription, and returns what is to be run.
    """

    @wraps(command)
    def call(subscription: str, route: str | None, target: StreamTarget, **others: object) -> None:
        prefix = _prefix(route, target)
        if not prefix:
            raise click.UsageError("Say which route has it, by --route PREFIX.")
        from gateway.commands.running import run
        from gateway.commands.stream.subscription_requests import NamedSubscription

        run(target, command(target, NamedSubscription(prefix, subscription), **others))

    options = route_option(result_option(on_admin_listener(call)))
    return click.argument("subscription", metavar="ID")(options)


@click.group()
def subscriptions() -> None:
    """List and change subscriptions: pause, replay or test them.

    The server must be a Headgate, because its admin listener has them. Every change is in the
    audit log.
    """


@subscriptions.command("list")
@click.option("--text", default="", metavar="TEXT", help="Only those with this text in them.")
@click.option("--status", type=click.Choice(("active", "failed", "stuck", "paused")))
@click.option("--kind", type=click.Choice(("webhook", "pull-wake", "mcp-events")))
@click.option(
    "--order",
    type=click.Choice(("id", "pending", "oldest")),
    default="id",
    show_default=True,
    help="By id, most pending streams first, or what waits longest first.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@route_option
@on_admin_listener
def list_subscriptions(  # noqa: PLR0913 - one for each option
    text: str,
    status: str | None,
    kind: str | None,
    order: str,
    as_json: bool,
    route: str | None,
    target: StreamTarget,
) -> None:
    """List the subscriptions.

    Each line has status, kind, streams, pending streams, seconds for which something waits, what
    is woken, and the id; "-" means that nothing waits.
    """
    from gateway.commands.running import run
    from gateway.commands.stream.subscription_requests import print_list

    conditions = {"text": text, "status": status, "kind": kind, "order": order}
    conditions["route"] = _prefix(route, target)
    query = {name: value for name, value in conditions.items() if value}
    run(target, print_list(target, query, as_json=as_json))


@subscriptions.command("show")
@click.option("--pending", "only_pending", is_flag=True, help="Print pending streams only.")
@on_subscription
def show_subscription(
    target: StreamTarget,
    place: NamedSubscription,
    only_pending: bool,
    as_json: bool,
) -> Coroutine[Any, Any, None]:
    """Print a subscription, with the first 100 of its streams and their cursors."""
    from gateway.commands.stream import subscription_requests as requests

    return requests.print_one(target, place, only_pending=only_pending, as_json=as_json)


@subscriptions.command("create")
@click.option("--pattern", metavar="PATTERN", help="Streams by name, such as events/*.")
@click.option("--stream", "streams", multiple=True, metavar="NAME", help="A stream by its name.")
@click.option("--webhook", metavar="URL", help="Call this receiver.")
@click.option(
    "--wake-stream",
    metavar="NAME",
    help="Write wakes to this stream, for workers; you create it, as a JSON stream.",
)
@click.option(
    "--lease",
    type=click.FloatRange(1, 600),
    metavar="SECONDS",
    help="How long a worker may take from one ack to the next; 30 by default.",
)
@click.option("--description", metavar="TEXT", help="What it is for; people read it.")
@on_subscription
def create_subscription(  # noqa: PLR0913 - one for each option
    target: StreamTarget,
    place: NamedSubscription,
    pattern: str | None,
    streams: tuple[str, ...],
    webhook: str | None,
    wake_stream: str | None,
    lease: float | None,
    description: str | None,
    as_json: bool,
) -> Coroutine[Any, Any, None]:
    """Create the subscription ID with a webhook or a wake stream, or confirm it.

    It belongs to the operators: on a route with access control, no client may change it.
    """
    if (webhook is None) is (wake_stream is None):
        raise click.UsageError("Give either --webhook URL or --wake-stream NAME.")
    if pattern is None and not streams:
        raise click.UsageError("Give --pattern or --stream, or both.")
    members: dict[str, object] = {
        "type": "webhook" if webhook is not None else "pull-wake",
        "pattern": pattern,
        "streams": list(streams) or None,
        "webhook": None if webhook is None else {"url": webhook},
        "wake_stream": wake_stream,
        "lease_ttl_ms": None if lease is None else round(lease * 1000),
        "description": description,
    }
    from gateway.commands.stream import subscription_requests as requests

    present = {name: value for name, value in members.items() if value is not None}
    return requests.create(target, place, present, as_json=as_json)


@subscriptions.command("delete")
@on_subscription
def delete_subscription(
    target: StreamTarget, place: NamedSubscription, *, as_json: bool
) -> Coroutine[Any, Any, None]:
    """Delete a subscription with its cursors; its streams stay."""
    from gateway.commands.stream import subscription_requests as requests

    return requests.delete(target, place, as_json=as_json)


@subscriptions.command("pause")
@on_subscription
def pause_subscription(
    target: StreamTarget, place: NamedSubscription, *, as_json: bool
) -> Coroutine[Any, Any, None]:
    """Send no wakes of a subscription until it is resumed.

    Events wait meanwhile. A worker that has a lease may finish.
    """
    from gateway.commands.stream import subscription_requests as requests

    return requests.pause(target, place, resumes=False, as_json=as_json)


@subscriptions.command("resume")
@on_subscription
def resume_subscription(
    target: StreamTarget, place: NamedSubscription, *, as_json: bool
) -> Coroutine[Any, Any, None]:
    """Send wakes of a paused subscription again, at once if events wait."""
    from gateway.commands.stream import subscription_requests as requests

    return requests.pause(target, place, resumes=True, as_json=as_json)


@subscriptions.command("replay")
@click.option("--beginning", is_flag=True, help="Replay all that the streams still have.")
@click.option("--offset", metavar="OFFSET", help="Replay what is after this offset of --stream.")
@click.option("--since", metavar="WHEN", help="Replay what is newer: 6h, or 2030-01-31T12:05:00Z.")
@click.option("--stream", "streams", multiple=True, metavar="NAME", help="Replay only this stream.")
@on_subscription
def replay_subscription(  # noqa: PLR0913 - one for each option
    target: StreamTarget,
    place: NamedSubscription,
    beginning: bool,
    offset: str | None,
    since: str | None,
    streams: tuple[str, ...],
    as_json: bool,
) -> Coroutine[Any, Any, None]:
    """Set the cursors of a subscription back, so that events are told again.

    The wake in flight is over: what its worker acknowledges is refused. A cursor that is there
    already, or before, stays.
    """
    if beginning + (offset is not None) + (since is not None) != 1:
        raise click.UsageError("Give one of --beginning, --offset and --since.")
    if offset is not None and len(streams) != 1:
        raise click.UsageError("An offset belongs to a stream: name it by --stream.")
    start: dict[str, object] = {"streams": list(streams)}
    if offset is not None:
        start["offset"] = offset
    elif since is not None:
        start["since"] = _moment(since)
    from gateway.commands.stream import subscription_requests as requests

    return requests.replay(target, place, start, as_json=as_json)


@subscriptions.command("test")
@on_subscription
def test_subscription(
    target: StreamTarget, place: NamedSubscription, *, as_json: bool
) -> Coroutine[Any, Any, None]:
    """Send a signed test to the receiver of a webhook.

    Its body has "test": true, and no cursor moves. The exit status is 1 if the receiver does not
    accept it.
    """
    from gateway.commands.stream import subscription_requests as requests

    return requests.test(target, place, as_json=as_json)


def _prefix(route: str | None, target: StreamTarget) -> str:
    """Return the prefix of the route, "" if nothing says it."""
    return route if route is not None else urlsplit(target.home.base).path.rstrip("/")


def _moment(text: str) -> float:
    """Return a moment, or an age before now, in epoch seconds. Raises click.UsageError."""
    age = age_s(text)
    if age is not None:
        return time.time() - age  # noqa: TID251 - of people
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(
            "--since must be an age such as 30m, 6h or 7d, or a time such as 2030-01-31T12:05:00Z."
        ) from None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
