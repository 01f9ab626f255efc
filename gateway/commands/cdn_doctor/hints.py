"""Advice for checks that failed: for every hop, and for the vendors that can be recognised."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Check = Literal[
    "query order",
    "304",
    "credentials",
    "paths",
    "equal polls",
    "204 together",
    "204 kept",
    "cursor",
    "poll held",
    "SSE",
    "SSE resume",
    "keep-alive",
    "HEAD",
    "POST body",
    "large append",
    "Expect",
    "chunked append",
    "content",
    "repeated append",
    "own pages",
    "refusals",
    "empty tail",
    "browsers' copies",
    "early 404",
    "offsets",
    "chunks kept",
    "headers",
    "CORS",
    "HTTP/2",
    "rate limit",
    "one server",
    "sent once",
    "waiting readers",
    "DELETE",
    "reader-key",
    "verified",
    "configuration",
]
# What else can be behind a failure of a check.
Cause = Literal[
    "body limit",
    "server limit",
    "live in key",
    "rewritten",
    "firewall",
    "error pages",
    "CORS twice",
    "preflight",
    "kept 304",
]
Advice = Check | Cause
Vendor = Literal[
    "nginx", "Varnish", "Fastly", "Cloudflare", "CloudFront", "Bunny", "Vercel", "Caddy"
]

# A header field by which a hop gives itself away, the most telling first. Fastly says that it is
# Varnish, and many a server behind a CDN that it is nginx.
SIGNS: tuple[tuple[Vendor, str, str], ...] = (
    ("Fastly", "X-Served-By", r"\bcache-[a-z]+"),
    ("Cloudflare", "CF-Ray", r"."),
    ("Cloudflare", "Server", r"^cloudflare"),
    ("CloudFront", "X-Amz-Cf-Id", r"."),
    ("Bunny", "Server", r"^BunnyCDN"),
    ("Vercel", "X-Vercel-Id", r"."),
    ("Varnish", "X-Varnish", r"."),
    ("Varnish", "Via", r"\bvarnish\b"),
    ("nginx", "X-Cache-Status", r"."),
    ("nginx", "Server", r"^(nginx|openresty)"),
    ("Caddy", "Server", r"\bCaddy\b"),
    ("Caddy", "Via", r"\bCaddy\b"),
)
FILES: Mapping[Vendor, str] = {
    "nginx": "nginx.conf",
    "Varnish": "the VCL",
    "Fastly": "the VCL",
    "Cloudflare": "the Worker, or the rules",
}

EVERYWHERE: Mapping[Advice, str] = {
    "query order": "Sort the query's parameters in the cache key.",
    "304": "Store the ETag of responses, and pass If-None-Match on or answer it.",
    "credentials": "Do not cache requests with Authorization or Cookie, or put a hash of both "
    "into the cache key.",
    "paths": "Put the path into the cache key, and pass it on, as it was sent: not decoded.",
    "equal polls": "Collapse equal requests, and let them wait for longer than a long-poll takes: "
    "otherwise the server has the load of all readers.",
    "204 together": "Let the shared cache store the 204 of a long-poll for one second: if it may "
    "not be stored, the requests that wait for it go to the server one after the other.",
    "204 kept": "Store the 204 of a long-poll for one second at most: meanwhile clients that do "
    "not send the cursor back repeat the poll at once.",
    "poll held": "Give the hop a read time-out of the long-poll plus 45 s, or the gateway a "
    "shorter long_poll_timeout.",
    "SSE": "Pass live=sse on unbuffered, uncompressed and uncached.",
    "keep-alive": "Keep the hop's read time-out above sse_heartbeat, 15 s unless set, and let "
    "comments through.",
    "HEAD": "Pass HEAD on as HEAD, and do not cache the response.",
    "POST body": "Pass POST on with its method, its header and its body.",
    "empty tail": "Store a response with Stream-Up-To-Date for a second at most: obey s-maxage "
    "or CDN-Cache-Control, do not serve it stale, and add no lifetime of your own.",
    "cursor": "Put cursor into the cache key.",
    "SSE resume": "Do not share responses to live=sse, or put Last-Event-ID into the cache key.",
    "large append": "Allow bodies as long as max_append, 16 MiB unless set, and pass them on as "
    "they come.",
    "body limit": "Allow bodies as long as max_append, 16 MiB unless set.",
    "Expect": "Answer Expect: 100-continue, pass it on, or remove the header; curl sends it "
    "above 1 MiB.",
    "early 404": "Do not store the 404 of a read from the beginning, not even for a second: a "
    "stream may begin at any time, and clients stop for good at a 404.",
    "offsets": "Put offset, live and cursor into the cache key: no rule may ignore the query, or "
    "these parameters of it.",
    "chunks kept": "Store responses for as long as their max-age says, with an Age. Look for "
    "what prevents it: a Set-Cookie, a Vary, a cache that is too small, or a time after which "
    "unused copies are dropped.",
    "headers": "Pass the fields of responses on, also from copies: Stream-Next-Offset, "
    "Stream-Up-To-Date, Stream-Cursor, Stream-Closed, ETag and Content-Type.",
    "CORS": "Pass OPTIONS and the Access-Control fields of all responses on; keep Origin in the "
    "cache key where responses vary by it.",
    "HTTP/2": "Let the hop speak HTTP/2: http2 on, alpn h2,http/1.1.",
    "reader-key": "Put rk into the cache key, and answer a request with credentials and without "
    "rk from no copy.",
    "verified": "Verify the signature, the algorithm and the claims of a token before looking "
    "for a copy; pass requests on whose token is not valid.",
    "configuration": "Render the file again with the options at its beginning, deploy it, and "
    "let its header Headgate-Config through.",
    "live in key": "Put live into the cache key.",
    "chunked append": "Pass on bodies of unknown length, or buffer them first.",
    "content": "Change no body: no rewriting of links, no minifying, no parsing and rewriting of "
    "JSON.",
    "rewritten": "Pass bodies on as bytes: nothing may decode them as text, or rewrite them.",
    "firewall": "Exempt the streams from the rules of the web firewall that inspect bodies: what "
    "people write to each other, and models to people, has markup and queries in it.",
    "repeated append": "Pass all header fields of requests on, Producer-Id, Producer-Epoch and "
    "Producer-Seq among them: without them every append that is sent again is stored twice.",
    "own pages": "If pages of this host should write, pass Host on unchanged, or name the pages' "
    "origin in write_origins.",
    "refusals": "Pass refusals on unchanged, with status, fields and body: no error pages for "
    "streams. Clients decide by 404, 409, 410 and 503 whether to stop, to skip or to try again.",
    "error pages": "Pass a 404 on unchanged: no page of the site, and no index.html, instead of "
    "an error. Otherwise readers take the page for the stream's data.",
    "browsers' copies": "Pass Cache-Control on unchanged: the hop must not set a lifetime of its "
    "own for browsers.",
    "CORS twice": "Let only the server answer for other sites: add no Access-Control fields to "
    "its responses.",
    "preflight": "Pass OPTIONS on: the server knows which methods and fields pages may use.",
    "kept 304": "Do not store a 304 as the response to a URL: a cache requests without the "
    "reader's If-None-Match, or with that of its own copy.",
    "one server": "Send all requests to servers that have the same streams: one gateway, several "
    "with one Redis, or each stream always to the same one, by its path.",
    "sent once": "Send each request to one server, once: no mirror, no shadow traffic to servers "
    "that have the same streams, no repetition of a POST.",
    "waiting readers": "Let the hop have as many concurrent requests as there are readers, and "
    "more for writers: each live read occupies a connection while it waits.",
    "DELETE": "If streams should be deleted this way, let DELETE pass.",
    "server limit": "Raise the setting that the server names, or list the proxy in "
    "trusted_proxies: otherwise all clients behind it count as one.",
    "rate limit": "Permit one address more requests, and more at once: a hundred readers may "
    "share one, and each sends another request after every message.",
}
AT: Mapping[Vendor, Mapping[Advice, str]] = {
    "nginx": {
        "query order": "proxy_cache_key of $arg_cursor, $arg_live and $arg_offset in this order.",
        "304": "proxy_cache_revalidate on.",
        "credentials": "proxy_cache_bypass and proxy_no_cache by $http_authorization and "
        "$http_cookie.",
        "paths": "proxy_cache_key of $request_uri, not $uri; proxy_pass without a path.",
        "equal polls": "proxy_cache_lock on; proxy_cache_lock_timeout and proxy_cache_lock_age of "
        "75s.",
        "204 together": "proxy_cache_valid 204 1s; proxy_cache_lock_timeout 75s.",
        "204 kept": "proxy_cache_valid 204 1s.",
        "poll held": "proxy_read_timeout 75s.",
        "SSE": "proxy_buffering off; gzip off; proxy_cache off.",
        "keep-alive": "proxy_read_timeout 90s.",
        "HEAD": "proxy_cache_convert_head off; proxy_cache_methods GET.",
        "POST body": "no proxy_pass_request_body off; proxy_method as it is.",
        "empty tail": "no proxy_ignore_headers Cache-Control with a proxy_cache_valid of minutes; "
        "proxy_no_cache by $upstream_http_stream_up_to_date.",
        "cursor": "$arg_cursor in proxy_cache_key.",
        "live in key": "$arg_live in proxy_cache_key.",
        "rate limit": "a higher rate and burst of limit_req and limit_conn, or none.",
        "offsets": "$arg_offset in proxy_cache_key.",
        "large append": "client_max_body_size 0; proxy_request_buffering off.",
        "body limit": "client_max_body_size 0, or the max_append of the gateway; it is 1m.",
        "Expect": "nothing: it answers 100 itself, unless it is made not to.",
        "early 404": "no proxy_cache_valid for 404 or any.",
        "content": "no sub_filter with sub_filter_types *.",
        "repeated append": "no proxy_pass_request_headers off, no proxy_set_header of them.",
        "own pages": "proxy_set_header Host $http_host.",
        "refusals": "no proxy_intercept_errors on with error_page.",
        "error pages": "no proxy_intercept_errors on with error_page, no try_files.",
        "browsers' copies": "no expires, no add_header Cache-Control.",
        "CORS twice": "no add_header Access-Control-Allow-Origin.",
        "preflight": "no return for OPTIONS.",
        "kept 304": "no proxy_set_header If-None-Match where there is a proxy_cache.",
        "sent once": "no mirror.",
        "waiting readers": "worker_connections of two for each reader; no max_conns of a server.",
        "chunks kept": "inactive of proxy_cache_path, 10 minutes unless set, as long as a copy is "
        "to lie unused; max_size and keys_zone large enough.",
        "headers": "no proxy_hide_header of them.",
        "CORS": "no proxy_hide_header of Access-Control-Allow-Origin, no limit_except of OPTIONS.",
        "reader-key": "$arg_rk in proxy_cache_key.",
    },
    "Varnish": {
        "query order": "std.querysort(req.url) in vcl_recv.",
        "credentials": "return (pass) in vcl_recv if req.http.Authorization or req.http.Cookie.",
        "equal polls": "return (hash) for live=long-poll, and keep its answers.",
        "204 together": "beresp.ttl = 1s for a 204 in vcl_backend_response, and return (deliver).",
        "204 kept": "beresp.ttl = 1s and beresp.grace = 0s for a 204 in vcl_backend_response.",
        "poll held": ".first_byte_timeout = 75s of the backend.",
        "SSE": "beresp.do_stream = true.",
        "keep-alive": ".between_bytes_timeout = 75s of the backend.",
        "HEAD": 'return (pass) in vcl_recv if req.method != "GET".',
        "POST body": 'return (pass) in vcl_recv if req.method != "GET".',
        "empty tail": "beresp.ttl = 1s and beresp.grace = 0s if Stream-Up-To-Date.",
        "cursor": "hash_data(req.url) with the whole query in vcl_hash.",
        "live in key": "hash_data(req.url) with the whole query in vcl_hash.",
        "offsets": "hash_data(req.url) with the whole query in vcl_hash; no regsub of it away.",
        "SSE resume": "hash_data(req.http.Last-Event-ID) in vcl_hash.",
        "early 404": "return (pass(1s)) for a 404 in vcl_backend_response.",
        "own pages": "no set bereq.http.Host.",
        "refusals": "no vcl_backend_error or synthetic pages for what the server answers.",
        "browsers' copies": "no set resp.http.Cache-Control.",
        "waiting readers": "no .max_connections of the backend; thread_pool_max above the readers.",
        "headers": "no unset of them in vcl_deliver or vcl_backend_response.",
        "CORS": "no unset of resp.http.Access-Control-Allow-Origin; return (pass) for OPTIONS.",
        "reader-key": "hash_data(req.url) with rk in it; return (pass) for credentials without rk.",
    },
    "Fastly": {
        "query order": "querystring.sort(req.url) in vcl_recv.",
        "credentials": "return(pass) in vcl_recv if req.http.Authorization or req.http.Cookie.",
        "equal polls": "no req.hash_ignore_busy; return(lookup) for live=long-poll.",
        "204 together": "beresp.cacheable = true and beresp.ttl = 1s for a 204 in vcl_fetch.",
        "204 kept": "beresp.ttl = 1s for a 204 in vcl_fetch.",
        "poll held": ".first_byte_timeout = 55s of the backend, and polls of at most 50 s.",
        "SSE": "beresp.do_stream = true in vcl_fetch, with beresp.ttl = 2s.",
        "keep-alive": ".between_bytes_timeout = 55s of the backend.",
        "HEAD": 'return(pass) in vcl_recv if req.method != "GET".',
        "POST body": 'return(pass) in vcl_recv if req.method != "GET".',
        "empty tail": "beresp.ttl = 1s and beresp.stale_while_revalidate = 0s if "
        "Stream-Up-To-Date.",
        "offsets": "req.url with its whole query in req.hash.",
        "SSE resume": "req.http.Last-Event-ID in req.hash.",
        "early 404": "return(pass) for a 404 in vcl_fetch.",
    },
    "Cloudflare": {
        "query order": "sort query string in the cache key of the rule; in a Worker sort "
        "url.search.",
        "credentials": "a Worker passes on what has Authorization or Cookie before its cache.",
        "paths": "no normalisation of URLs to the origin; url.pathname in the key.",
        "equal polls": "a Worker keeps a Map of the polls under way, by key.",
        "204 together": "a cache response rule of 1 s for 204.",
        "204 kept": "a cache response rule of 1 s for 204.",
        "poll held": "polls of at most 100 s; 25 s through a Worker.",
        "SSE": "response_body_buffering: none; a Worker returns the body without reading it.",
        "HEAD": "fetch(new Request(target, request)) for all but GET.",
        "POST body": "fetch(new Request(target, request)), which keeps method and body.",
        "empty tail": "a cache response rule of 1 s for Stream-Up-To-Date.",
        "offsets": "no Ignore Query String in the caching level or in the cache key of the rule.",
        "Expect": "a Worker deletes Expect before it passes a request on.",
        "content": "no Email Address Obfuscation, no Automatic HTTPS Rewrites; a Worker passes "
        "bodies on without reading them.",
        "rewritten": "a Worker passes response.body on, and never await response.text().",
        "firewall": "a WAF exception for the path of the streams.",
        "browsers' copies": "Browser Cache TTL: Respect Existing Headers.",
        "early 404": "no Edge TTL for 404.",
        "large append": "request_body_buffering: none.",
    },
}
# Of a hop that says nothing of itself any could be meant.
LIKELY: tuple[Vendor, ...] = ("nginx", "Varnish", "Cloudflare")


def vendors(headers: Mapping[str, str]) -> tuple[Vendor, ...]:
    """Return the vendors on the way, as far as a reply's fields show them."""
    found = [
        vendor
        for vendor, name, pattern in SIGNS
        if re.search(pattern, headers.get(name, ""), re.IGNORECASE)
    ]
    known = tuple(dict.fromkeys(found))
    return tuple(one for one in known if one != "Varnish") if "Fastly" in known else known


def hint(advice: Advice, on_the_way: tuple[Vendor, ...]) -> str:
    """Return what to change, and where."""
    places = [
        f"In {FILES[vendor]} ({vendor}): {AT[vendor][advice]}"
        for vendor in on_the_way or LIKELY
        if advice in AT.get(vendor, {})
    ]
    return " ".join((EVERYWHERE[advice], *places))
