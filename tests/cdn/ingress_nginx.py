"""What the controller ingress-nginx makes of an Ingress, as a file for nginx.

The directives, and what they say without an annotation, are those of the controller's template and
defaults at its last release, 1.15.1. Its balancer, which is Lua, is an upstream here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ANNOTATION = "nginx.ingress.kubernetes.io/"
# By annotation: the directive of the location, what it says without one, and the unit.
DIRECTIVES = {
    "proxy-body-size": ("client_max_body_size", "1m", ""),
    "client-body-buffer-size": ("client_body_buffer_size", "8k", ""),
    "proxy-connect-timeout": ("proxy_connect_timeout", "5", "s"),
    "proxy-send-timeout": ("proxy_send_timeout", "60", "s"),
    "proxy-read-timeout": ("proxy_read_timeout", "60", "s"),
    "proxy-buffering": ("proxy_buffering", "off", ""),
    "proxy-buffer-size": ("proxy_buffer_size", "4k", ""),
    "proxy-max-temp-file-size": ("proxy_max_temp_file_size", "1024m", ""),
    "proxy-request-buffering": ("proxy_request_buffering", "on", ""),
    "proxy-http-version": ("proxy_http_version", "1.1", ""),
    "proxy-next-upstream": ("proxy_next_upstream", "error timeout", ""),
    "proxy-next-upstream-timeout": ("proxy_next_upstream_timeout", "0", ""),
    "proxy-next-upstream-tries": ("proxy_next_upstream_tries", "3", ""),
}
_HEADERS = (
    "Host $http_host",
    "Upgrade $http_upgrade",
    "Connection $connection_upgrade",
    "X-Request-ID $req_id",
    "X-Real-IP $remote_addr",
    "X-Forwarded-For $remote_addr",
    "X-Forwarded-Host $http_host",
    "X-Forwarded-Port $server_port",
    "X-Forwarded-Proto $scheme",
    "X-Forwarded-Scheme $scheme",
    "X-Scheme $scheme",
    "X-Original-Forwarded-For $http_x_forwarded_for",
    "X-Original-Forwarded-Host $http_x_forwarded_host",
    'Proxy ""',
)
_AROUND = """\
daemon off;
pid nginx.pid;
error_log stderr error;
worker_processes 1;
events {{ worker_connections 4096; }}
http {{
access_log off;
client_body_temp_path body;
proxy_temp_path proxy;
fastcgi_temp_path fastcgi;
uwsgi_temp_path uwsgi;
scgi_temp_path scgi;
tcp_nopush on;
tcp_nodelay on;
reset_timedout_connection on;
keepalive_timeout 75s;
keepalive_requests 1000;
client_header_buffer_size 1k;
client_header_timeout 60s;
large_client_header_buffers 4 8k;
client_body_timeout 60s;
proxy_headers_hash_bucket_size 64;
underscores_in_headers off;
map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
map $http_x_request_id $req_id {{ default $http_x_request_id; "" $request_id; }}
{servers}
}}
"""
_SERVER = """
upstream upstream_{port} {{
    server {upstream};
    keepalive 320;
    keepalive_timeout 60s;
    keepalive_requests 10000;
}}
server {{
    listen 127.0.0.1:{port};
    location "/" {{
        {lines}
        proxy_cookie_domain off;
        proxy_cookie_path off;
        proxy_buffers 4 4k;
        proxy_pass http://upstream_{port};
        proxy_redirect off;
    }}
}}
"""


def documents(text: str) -> dict[str, Any]:
    """The resources of a rendered file, by their kind."""
    return {one["kind"]: one for one in yaml.safe_load_all(text)}


def annotations_of(text: str) -> dict[str, str]:
    """Those of the Ingress of a rendered file, without the controller's prefix."""
    given: dict[str, str] = documents(text)["Ingress"]["metadata"]["annotations"]
    return {name.removeprefix(ANNOTATION): value for name, value in given.items()}


def server(
    port: int,
    upstream: int,
    annotated: Mapping[str, str],
    set_headers: Mapping[str, str] | None = None,
) -> str:
    """The upstream and the server of an Ingress, with the controller's proxy-set-headers."""
    unknown = annotated.keys() - DIRECTIVES.keys()
    assert not unknown, f"the controller has no annotation {unknown}"
    lines = [f"proxy_set_header {one};" for one in _HEADERS]
    lines += (f'proxy_set_header {name} "{value}";' for name, value in (set_headers or {}).items())
    lines += (
        f"{directive} {annotated.get(name, default)}{unit};"
        for name, (directive, default, unit) in DIRECTIVES.items()
    )
    return _SERVER.format(
        port=port, upstream=f"127.0.0.1:{upstream}", lines="\n        ".join(lines)
    )


def whole(servers: Iterable[str]) -> str:
    """A file for nginx with these servers."""
    return _AROUND.format(servers="".join(servers))
