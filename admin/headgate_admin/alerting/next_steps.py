"""The page and the command by which an operator goes on from an incident.

A command says more than the page. It is typed as it stands: it reaches this server whatever else
runs on the machine, and what it names is quoted for the shell and has no credentials.
"""

from __future__ import annotations

import shlex
from pathlib import PurePath
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit

from headgate.names import without_secrets
from headgate_admin.model.overview import NextStep
from headgate_gateway.settings import redacted_origin
from headgate_gateway.settings.log_kinds.file import folder
from headgate_gateway.settings.reached import console_url
from headgate_gateway.settings.reading.files import whole
from headgate_gateway.telemetry.health import CERTIFICATE_FILE

if TYPE_CHECKING:
    from headgate_admin.alerting.findings import IncidentFinding
    from headgate_gateway.settings import Route, Settings

# ORIGIN and STORAGE stand for a command that depends on the route.
CHECK, ORIGIN, STORAGE = "headgate config check", "ORIGIN", "STORAGE"
TOP, EVENTS = "headgate top --once", "headgate monitor events --since 1h"
SUBSCRIPTIONS, LARGEST = "headgate stream subscriptions list", "headgate stream ls --sort size"
_HITS, _REFUSED = NextStep("/caches", TOP), NextStep("/events?show=refusals", ORIGIN)
# By the name of a rule, or by the kind of the part that a finding is about.
NEXT_STEPS = {
    "HeadgateRequestsRefused": NextStep("/clients?show=refusals", TOP),
    "HeadgateServerErrors": _REFUSED,
    "HeadgateFewHits": _HITS,
    "HeadgateRedisFewHits": _HITS,
    **dict.fromkeys(("HeadgateSlowAppends", "HeadgateAppendsFail"), NextStep("", TOP)),
    **dict.fromkeys(("file", "log", "loss", "redis"), NextStep("", STORAGE)),
    **dict.fromkeys(
        ("access_file", "certificate_file", "settings", "tls"), NextStep("/configuration", CHECK)
    ),
    "clock": NextStep("/gateways", "timedatectl status || date -u"),  # containers lack the first
    "origin": NextStep("", ORIGIN),
    "quota": NextStep("/streams?order=size", LARGEST),
    "requests": _REFUSED,
    "server": NextStep("/clients?show=usage", TOP),
    "subscriptions": NextStep("/subscriptions?order=oldest", f"{SUBSCRIPTIONS} --order oldest"),
}
OTHERS = NextStep("/events", EVENTS)


def next_step(it: IncidentFinding, settings: Settings) -> NextStep:
    """Return the page and the command for a finding at a server with these settings."""
    step = it.step or NEXT_STEPS.get(it.alert) or NEXT_STEPS.get(it.about.kind, OTHERS)
    page, command = step.page, step.command
    if it.route and not page:
        page = f"/routes#{quote(it.route, safe='')}"
    routes = [route for route in settings.route_table if route.prefix == it.route]
    if command in {ORIGIN, STORAGE}:
        command = _of_route(routes[0], it, settings) if routes else TOP
    if command == CHECK and settings.file:
        command = f"{CHECK} {_config(settings)}"
    elif command == CHECK and it.about.kind == CERTIFICATE_FILE:  # of variables, unknown to a shell
        command = f"openssl x509 -noout -subject -dates -in {shlex.quote(it.about.subject)}"
    elif command.startswith((TOP, EVENTS, SUBSCRIPTIONS, LARGEST)):
        command = f"{command} {at_this_server(settings)}"
    file = settings.file
    if file and command.endswith(_config(settings)) and not PurePath(file).is_absolute():
        # Relative paths in the file begin at the folder in which the server was started, too.
        command = f"(cd {shlex.quote(whole(''))} && {command})"
    return NextStep(page, command, it.advice)


def at_this_server(settings: Settings) -> str:
    """Return the option with which a command reaches this server, and no other that runs here."""
    return f"--admin {shlex.quote(console_url(settings).rstrip('/'))}"


def request_to(url: str, ca_file: str = "") -> str:
    """Return a command that shows the response at a URL, or why there is none within 5 s."""
    words = ["curl", "-sS", "-m", "5", "-i"]
    if ca_file:
        words += ["--cacert", whole(ca_file)]
    if set("[]{}") & set(urlsplit(url).path):  # which curl would take for a set of URLs
        words.append("-g")
    return shlex.join([*words, without_secrets(url)])


def _of_route(route: Route, it: IncidentFinding, settings: Settings) -> str:
    """Return the command that looks at the origin of a route, or at its storage."""
    if route.is_http:
        found = next((url for url in route.origins if url in it.sentence), route.origins[0])
        parts = urlsplit(found)
        path = route.health_path.partition("?")[0] or parts.path or route.prefix
        return request_to(urlunsplit((parts.scheme, parts.netloc, path, "", "")), route.tls_ca)
    if it.is_symptom or route.log_kind is None:
        return TOP
    if route.log_kind.name == "redis":
        of = _config(settings) or shlex.quote(redacted_origin(route.location))
        return f"headgate doctor redis {of}"
    return (
        f"df -h {shlex.quote(whole(folder(route.location)))}"
        if route.storage.startswith("file:")
        else TOP
    )


def _config(settings: Settings) -> str:
    return f"--config {shlex.quote(settings.file)}" if settings.file else ""
