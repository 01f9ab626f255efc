"""The commands on subscriptions, as the command line declares them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

import click

from headgate_gateway.commands.options.server import on_admin_listener
from headgate_gateway.commands.stream.streams import result_option

if TYPE_CHECKING:
    from headgate_gateway.commands.stream.subscription_requests import NamedSubscription
    from headgate_gateway.tools.server.target import StreamTarget

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
        from headgate_gateway.commands.running import run
        from headgate_gateway.commands.stream.subscription_requests import NamedSubscription

        run(target, command(target, NamedSubscription(prefix, subscription), **others))

    options = route_option(result_option(on_admin_listener(call)))
    return click.argument("subscription", metavar="ID")(options)


@click.group()
def subscriptions() -> None:
    """List and change subscriptions: pause, replay or delete them.

    The server must be a Headgate, because its admin listener has them. Every change is in the
    audit log.
    """


@subscriptions.command("list")
@click.option("--text", default="", metavar="TEXT", help="Only those with this text in them.")
@click.option("--status", type=click.Choice(("active", "failed", "stuck", "paused")))
@click.option("--kind", type=click.Choice(("webhook", "pull-wake")))
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
    from headgate_gateway.commands.running import run
    from headgate_gateway.commands.stream.subscription_requests import print_list

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
    from headgate_gateway.commands.stream import subscription_requests as requests

    return requests.print_one(target, place, only_pending=only_pending, as_json=as_json)


@subscriptions.command("delete")
@on_subscription
def delete_subscription(
    target: StreamTarget, place: NamedSubscription, *, as_json: bool
) -> Coroutine[Any, Any, None]:
    """Delete a subscription with its cursors; its streams stay."""
    from headgate_gateway.commands.stream import subscription_requests as requests

    return requests.delete(target, place, as_json=as_json)


@subscriptions.command("pause")
@on_subscription
def pause_subscription(
    target: StreamTarget, place: NamedSubscription, *, as_json: bool
) -> Coroutine[Any, Any, None]:
    """Send no wakes of a subscription until it is resumed.

    Events wait meanwhile. A worker that has a lease may finish.
    """
    from headgate_gateway.commands.stream import subscription_requests as requests

    return requests.pause(target, place, resumes=False, as_json=as_json)


@subscriptions.command("resume")
@on_subscription
def resume_subscription(
    target: StreamTarget, place: NamedSubscription, *, as_json: bool
) -> Coroutine[Any, Any, None]:
    """Send wakes of a paused subscription again, at once if events wait."""
    from headgate_gateway.commands.stream import subscription_requests as requests

    return requests.pause(target, place, resumes=True, as_json=as_json)


@subscriptions.command("replay")
@click.option("--beginning", is_flag=True, help="Replay all that the streams still have.")
@click.option("--offset", metavar="OFFSET", help="Replay what is after this offset of --stream.")
@click.option("--stream", "streams", multiple=True, metavar="NAME", help="Replay only this stream.")
@on_subscription
def replay_subscription(
    target: StreamTarget,
    place: NamedSubscription,
    beginning: bool,
    offset: str | None,
    streams: tuple[str, ...],
    as_json: bool,
) -> Coroutine[Any, Any, None]:
    """Set the cursors of a subscription back, so that events are told again.

    The wake in flight is over: what its worker acknowledges is refused. A cursor that is there
    already, or before, stays.
    """
    if beginning is (offset is not None):
        raise click.UsageError("Give either --beginning or --offset.")
    if offset is not None and len(streams) != 1:
        raise click.UsageError("An offset belongs to a stream: name it by --stream.")
    start: dict[str, object] = {"streams": list(streams)}
    if offset is not None:
        start["offset"] = offset
    from headgate_gateway.commands.stream import subscription_requests as requests

    return requests.replay(target, place, start, as_json=as_json)


def _prefix(route: str | None, target: StreamTarget) -> str:
    """Return the prefix of the route, "" if nothing says it."""
    return route if route is not None else urlsplit(target.server.base).path.rstrip("/")
