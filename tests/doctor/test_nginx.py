"""What the doctor finds in configurations of a real nginx: each fault by its name, and no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.commands.nginx import nginx
from tests.doctor.deployments import (
    WAITS,
    examined_together,
    failures,
    names_of_streams,
    saw,
)
from tests.support.processes import headgate

if TYPE_CHECKING:
    from pathlib import Path


# What nginx has to be told at least, so that nothing is wrong; the others leave a part of it out.
WHO = "$http_authorization $http_cookie"
KEY = f'proxy_cache_key "{WHO} $raw_path $arg_cursor $arg_live $arg_offset";'
READS = """
    location / {
        error_page 470 = @poll;
        error_page 471 = @events;
        if ($arg_live = long-poll) { return 470; }
        if ($arg_live = sse) { return 471; }
        proxy_cache_convert_head off;
        proxy_pass http://GATEWAY;
    }
"""
LOCK = "proxy_cache_lock on; proxy_cache_lock_timeout 75s; proxy_cache_lock_age 75s;"
LIFETIMES = """
    proxy_ignore_headers Cache-Control Expires;
    proxy_cache_valid 200 10s;
    proxy_cache_valid 204 1s;
"""
POLLS = f"location @poll {{ {LOCK} {LIFETIMES} proxy_pass http://GATEWAY; }}"
EVENTS = "location @events { proxy_buffering off; proxy_pass http://GATEWAY; }"
BODIES = "client_max_body_size 0;"
RIGHT = BODIES + KEY + READS + POLLS + EVENTS
# As many a guide has it. nginx speaks HTTP/1.0 to a server unless it is told otherwise.
USUAL = """
    proxy_cache_key "$uri$is_args$args";
    proxy_ignore_headers Cache-Control Expires X-Accel-Buffering;
    proxy_cache_valid 200 60s;
    proxy_cache_valid 204 10s;
    location / { proxy_pass http://GATEWAY; }
"""
# What else is wrong where HEAD is a GET that is kept, and tails are kept for a minute.
TAILS = {"HEAD of chunks", "headers", "tags", "removal", "deleted tail"}
SERVERS: dict[str, tuple[str, set[str]]] = {
    "right": (RIGHT, set()),
    # As of a CDN whose servers have copies of their own, of which any is asked.
    "two_places": (
        'set $place 0; if ($request_id ~ "^[89a-f]") { set $place 1; }'
        + RIGHT.replace("$raw_path", "$place $raw_path"),
        set(),
    ),
    "no_cache": (BODIES + "location / { proxy_cache off; proxy_pass http://GATEWAY; }", set()),
    "usual": (
        USUAL,
        {
            *("paths", "credentials", "equal polls", "204 kept"),
            *("SSE", "SSE kept", "HEAD", "empty tail", "large append"),
            *TAILS,
        },
    ),
    "no_lock": (RIGHT.replace(LOCK, ""), {"equal polls"}),
    "no_lifetime": (RIGHT.replace("proxy_cache_valid 204 1s;", ""), {"204 together"}),
    "long_lifetime": (RIGHT.replace("204 1s", "204 10s"), {"204 kept"}),
    "one_key_for_all": (RIGHT.replace(WHO, ""), {"credentials"}),
    "one_key_for_all_cookies": (
        RIGHT.replace(WHO, "") + "proxy_cache_bypass $http_authorization;"
        "proxy_no_cache $http_authorization;",
        {"credentials"},
    ),
    "copies_of_nobody_for_all": (
        RIGHT.replace(WHO, "") + "proxy_no_cache $http_authorization $http_cookie;",
        {"credentials"},
    ),
    "decoded_key": (RIGHT.replace("$raw_path", "$uri"), {"paths"}),
    "decoded_path": (
        RIGHT.replace(
            "off;\n        proxy_pass http://GATEWAY", "off;\n proxy_pass http://GATEWAY/"
        ),
        {"paths"},
    ),
    "long_tail": (
        RIGHT.replace("proxy_cache_convert_head off;", LIFETIMES),
        {"HEAD", "empty tail", *TAILS},
    ),
    "impatient": (RIGHT.replace(LOCK, f"{LOCK} proxy_read_timeout 2s;"), {"poll held"}),
    "impatient_with_events": (
        RIGHT.replace("proxy_buffering off;", "proxy_buffering off; proxy_read_timeout 2s;"),
        {"keep-alive"},
    ),
}


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(120)
async def test_the_doctor_names_exactly_the_faults_of_each_nginx_configuration(
    tmp_path: Path,
) -> None:
    lines = {name: lines for name, (lines, _) in SERVERS.items()}
    with (
        headgate(environment={**WAITS, "HEADGATE_LIVE__SSE_HEARTBEAT": "4"}) as gateway,
        nginx(tmp_path, gateway.port, lines) as ports,
    ):
        urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
        found = await examined_together(urls)
        assert names_of_streams(gateway) == []
    assert {name: failures(one) for name, one in found.items()} == {
        name: faults for name, (_, faults) in SERVERS.items()
    }
    assert "1 reached the server" in saw(found["right"], "equal polls")
    assert "20 reached the server" in saw(found["no_lock"], "equal polls")
    assert "a reader with no credentials and one with another Cookie got another's" in saw(
        found["one_key_for_all_cookies"], "credentials"
    )
    assert "a reader with another Authorization and one with another Cookie got another's" in saw(
        found["copies_of_nobody_for_all"], "credentials"
    )
    assert "still waited for each other" in saw(found["no_lifetime"], "204 together")
    assert "with 504" in saw(found["impatient"], "poll held")
    for one in found.values():
        assert one.leftovers == ()
        assert one.requests < 240
