"""A target's template, filled in with the options it can hold."""

from __future__ import annotations

import re
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from headgate_cdn.errors import Refused
from headgate_cdn.options import LOOPBACK_IPV6, Options
from headgate_cdn.purpose import lines_of_purpose, purpose
from headgate_cdn.rules import RULES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jinja2 import Environment

    from headgate_cdn.target import Target

MARK = "headgate cdn "
HEALTH_PATH = "/healthz"  # of the listener for streams: 200 as soon as a gateway serves
# Every answer of a deployed file has this header, with the target and a digest of the file as it
# was rendered. Rendering it again shows whether that would be another file.
DIGEST_HEADER = "Headgate-Config"
DIGEST_DIGITS = 16  # hexadecimal: enough to tell versions of one file apart

_FOLDER = Path(__file__).parent


def render(target: Target, options: Options) -> str:
    """Return the file of a target; Refused says in one sentence why there is none."""
    check_fit(target, options)
    template = _environment().get_template(f"{target.folder}/{target.template}")
    blank = f"{target.name}/{'0' * DIGEST_DIGITS}"
    text = template.render(
        target=target,
        o=options,
        rules=RULES,
        mark=mark(target, options),
        purpose=purpose(options),
        health_path=HEALTH_PATH,
        digest_header=DIGEST_HEADER,
        digest=blank,
    )
    if target.comment != "json":
        first, end, rest = text.partition("\n")
        text = f"{first}{end}{lines_of_purpose(options, target.comment)}{rest}"
    # Of the whole text, in which all options are and what this version makes of them.
    digest = sha256(text.encode()).hexdigest()[:DIGEST_DIGITS]
    return text.replace(blank, f"{target.name}/{digest}")


def digest_of(target: Target, text: str) -> str | None:
    """Return the digest that a rendered file answers with, or None if it answers nothing itself."""
    found = re.search(rf"\b{target.name}/[0-9a-f]{{{DIGEST_DIGITS}}}\b", text)
    return None if found is None else found[0]


def whole(target: Target, options: Options) -> str:
    """Render a whole file around the target's, which is part of another, for the checker."""
    template = _environment().get_template(f"{target.folder}/{target.whole}")
    return template.render(target=target, o=options, part=target.file_name)


def mark(target: Target, options: Options) -> str:
    """Return the mark of a rendered file, from which it can be rendered again; a line of ASCII.

    Options that have their default value are left out: some vendors' comments are short. The
    upstream is there when somebody gave it; otherwise it is where the gateway listens.
    """
    values = msgspec.to_builtins(options)
    defaults = msgspec.to_builtins(Options())
    is_said = {name: value != defaults[name] for name, value in values.items()}
    is_said.update(upstream=options.is_upstream_given, is_upstream_given=False)
    marked = {name: value for name, value in values.items() if is_said[name]}
    return f"{MARK}{target.name} {msgspec.json.encode(marked).decode('ascii')}"


def check_fit(target: Target, options: Options) -> None:
    """Refuse what the target cannot do."""
    reasons = (
        *(_not_reached, _not_in_cluster, _not_balanced),
        *(_not_secure, _not_verified, _not_offered),
        *(_not_stale, _not_shared, _not_held),
    )
    for sentence in (one for reason in reasons for one in reason(target, options)):
        raise Refused(f"{target.name} {sentence}")


def _not_reached(target: Target, options: Options) -> Iterator[str]:
    """Yield why the target cannot be where readers reach it, and reach the gateway."""
    if options.standalone and not target.can_stand_alone:
        yield f"has no standalone file: it runs {target.place} only"
    if target.needs_host and not options.host and not options.standalone:
        yield "needs the host name that readers use: give --host"
    if options.host == LOOPBACK_IPV6 and not target.is_elsewhere:
        yield "compares host names, and no address of IPv6: give --host 127.0.0.1"
    if target.is_elsewhere and options.is_upstream_here and not options.standalone:
        where = "another machine" if target.in_cluster else "its vendor's machines"
        yield f"cannot reach {options.upstream} from {where}: give --upstream"


def _not_in_cluster(target: Target, options: Options) -> Iterator[str]:
    """Yield why nothing in a cluster can lead to the upstream."""
    if target.in_cluster and not options.upstream_service:
        yield (
            "leads to a Service of its cluster, by the first label of --upstream, and "
            f"{options.upstream} names none: give --upstream SERVICE:PORT"
        )


def _not_balanced(target: Target, options: Options) -> Iterator[str]:
    """Yield why requests cannot go to several gateways."""
    if options.has_several_upstreams and not target.balances:
        yield (
            f"leads to one address, and --upstream names {len(options.upstreams)}: give it that of "
            "a load balancer in front of the gateways"
        )


def _not_secure(target: Target, options: Options) -> Iterator[str]:
    """Yield why the target cannot connect to the gateway by HTTPS with these options."""
    for option in ("upstream_ca", "upstream_name"):
        if not getattr(options, option):
            continue
        flag = f"--{option.replace('_', '-')}"
        if not options.is_https:
            yield (
                f"speaks plain HTTP to this gateway, where {flag} has no meaning: set "
                "tls.certificate, or give --upstream https://HOST:PORT"
            )
        if target.no_upstream_ca:
            yield f"has no {flag}: {target.no_upstream_ca}"
    if options.is_https and target.no_https:
        yield f"cannot speak HTTPS to the gateway and verify it: {target.no_https}"
    if options.is_https and options.client_certificates:
        yield (
            "has no certificate of its own, which tls.client_ca demands of it: unset that, and let "
            "a firewall keep others from the gateway"
        )


def _not_verified(target: Target, options: Options) -> Iterator[str]:
    """Yield why no one name is known that the gateways' certificates have to be for."""
    if not options.is_https or options.upstream_name:
        return
    if len({one.host for one in options.upstreams}) > 1:
        yield "verifies one name in the certificates of all gateways: give it as --upstream-name"
    if options.upstreams[0].is_ip:
        how = "name the gateway in --upstream" if target.no_upstream_ca else "give --upstream-name"
        yield (
            f"verifies the name in the gateway's certificate, and {options.upstream_host} is an "
            f"address: {how}"
        )


def _not_offered(target: Target, options: Options) -> Iterator[str]:
    """Yield which of the options the target does not have, and why."""
    if options.shield and not target.shield:
        yield "has no shield: --shield is for a vendor that has one place ask for all others"
    elif options.shield and not re.fullmatch(target.shield, options.shield):
        yield f"takes {target.shield_words} as --shield, not {options.shield}"
    if options.compress_private and "compresses" not in target.abilities:
        yield "compresses nothing by this file: leave out --compress-private"
    elif options.compress_private and _passes_private_reads(target, options):
        yield "passes on private reads as they are: --compress-private is for other --credentials"
    if options.purge and target.no_purge:
        yield f"takes no purges: {target.no_purge}"


def _passes_private_reads(target: Target, options: Options) -> bool:
    """Return whether a target that compresses its copies has none of private reads."""
    return options.credentials == "bypass" and "caches" in target.abilities


def _not_stale(target: Target, options: Options) -> Iterator[str]:
    """Yield why copies cannot be served while the gateway is away."""
    if options.stale_if_error_s and target.no_stale_if_error:
        yield f"serves no stale copies for --stale-if-error: {target.no_stale_if_error}"


def _not_shared(target: Target, options: Options) -> Iterator[str]:
    """Yield why readers with credentials cannot have copies as it is asked."""
    mode = options.credentials
    if mode not in target.credentials:
        yield f"cannot {target.cannot(mode)}"
    if mode in {"asked", "verified"} and not options.own_logs:
        yield (
            "shares the streams of own logs only among those who may read, and passes on requests "
            "for HTTP origins: no route leads to an own log; --credentials reader-key shares both"
        )
    if mode == "verified" and not options.read_keys:
        yield (
            "has nothing to verify read tokens by: set credentials.keys_file, which headgate token "
            "keys makes"
        )


def _not_held(target: Target, options: Options) -> Iterator[str]:
    """Yield what the gateway does by its settings that would go wrong behind the target."""
    if target.longest_poll_s is not None and options.poll_s > target.longest_poll_s:
        yield (
            f"cannot hold long-polls of {options.poll_s} s: {target.longest_poll_reason}; "
            f"set live.long_poll_timeout to at most {target.longest_poll_s}"
        )
    if target.longest_heartbeat_s is not None and options.heartbeat_s > target.longest_heartbeat_s:
        yield (
            f"cannot pass on SSE with heartbeats every {options.heartbeat_s} s: "
            f"{target.longest_heartbeat_reason}; set live.sse_heartbeat to at most "
            f"{target.longest_heartbeat_s}"
        )
    if "collapses" in target.abilities and not options.tail_s:
        yield (
            "lets equal readers wait for one answer, and where it may not keep that, for each "
            "other: set tail_max_age to at least 1"
        )
    if options.sites and not target.keeps_sites_apart:
        yield (
            "cannot keep the answers for one web site apart from those for another: "
            "set http.cors_origins to *"
        )
    if options.told_apart and not target.keeps_readers_apart:
        yield (
            "may give a reader with credentials the copy of an anonymous reader's answer, and an "
            "HTTP origin tells these apart: take another target for its routes, or name all that "
            "it knows readers by in drop_headers"
        )


def fill(template: str, **values: object) -> str:
    """Return a template, named by its path below this package, filled in with these values."""
    return _environment().get_template(template).render(rules=RULES, **values)


@cache
def _environment() -> Environment:
    # 2 MB, which a gateway whose console nobody opens does without.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(_FOLDER),
        undefined=StrictUndefined,
        # The files are no HTML: each option is of a form that needs no quotes in any of them.
        autoescape=False,  # noqa: S701
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
