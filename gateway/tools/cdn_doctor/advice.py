"""Advice for checks that failed: what to change, at whatever hop is to blame."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.tools.cdn_doctor.finding import Advice

ADVICE: Mapping[Advice, str] = {
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
    "shorter live.long_poll_timeout.",
    "SSE": "Pass live=sse on unbuffered, uncompressed and uncached.",
    "keep-alive": "Keep the hop's read time-out above live.sse_heartbeat, 12 s unless set, and let "
    "comments through.",
    "HEAD": "Pass HEAD on as HEAD, and do not cache the response.",
    "POST body": "Pass POST on with its method, its header and its body.",
    "empty tail": "Store a response with Stream-Up-To-Date for a second at most: obey s-maxage "
    "or CDN-Cache-Control, do not serve it stale, and add no lifetime of your own.",
    "cursor": "Put cursor into the cache key.",
    "large append": "Allow bodies as long as limits.max_append, 16 MiB unless set, and pass them "
    "on as they come.",
    "body limit": "Allow bodies as long as limits.max_append, 16 MiB unless set.",
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
    "reader-key": "Put rk into the cache key, and answer a request with credentials and without "
    "rk from no copy.",
    "private reads": "Join no requests under way, and keep no responses, of requests with "
    "credentials: pass on what has Authorization, a Cookie or a token, or put a hash of them into "
    "the key by which requests are joined. A response that says private is for one reader.",
    "SSE kept": "Do not store responses of text/event-stream: another reader would get events that "
    "are old, and an end.",
    "HEAD refused": "Pass HEAD on: clients learn the tail and the type of a stream by it.",
    "POST kept": "Do not cache POST, and put the method into the cache key: the copy acknowledges "
    "appends that no server has seen.",
    "cut responses": "Pass whole responses on, however long: a chunk is as long as chunk_size, and "
    "an append as long as limits.max_append.",
    "long heads": "Allow heads of responses of 8 KiB, and as many fields as the server sends.",
    "204 changed": "Pass the status of responses on: a poll without news is a 204, and 200 with no "
    "body is taken for data.",
    "Vary": "Put Origin into the cache key where responses vary by it, or obey Vary.",
    "configuration": "Render the file again with the options at its beginning, deploy it, and "
    "let its header Headgate-Config through.",
    "live in key": "Put live into the cache key.",
    "rewritten": "Pass bodies on as bytes: nothing may decode them as text, or rewrite them.",
    "repeated append": "Pass all header fields of requests on, Producer-Id, Producer-Epoch and "
    "Producer-Seq among them: without them every append that is sent again is stored twice.",
    "refusals": "Pass refusals on unchanged, with status, fields and body: no error pages for "
    "streams. Clients decide by 404, 409, 410 and 503 whether to stop, to skip or to try again.",
    "error pages": "Pass a 404 on unchanged: no page of the site, and no index.html, instead of "
    "an error. Otherwise readers take the page for the stream's data.",
    "browsers' copies": "Pass Cache-Control on unchanged: the hop must not set a lifetime of its "
    "own for browsers.",
    "CORS twice": "Let only the server answer for other sites: add no Access-Control fields to "
    "its responses.",
    "preflight": "Pass OPTIONS on: the server knows which methods and fields pages may use.",
    "one server": "Send all requests to servers that have the same streams: one gateway, several "
    "with one Redis, or each stream always to the same one, by its path.",
    "sent once": "Send each request to one server, once: no mirror, no shadow traffic to servers "
    "that have the same streams, no repetition of a POST.",
    "waiting readers": "Let the hop have as many concurrent requests as there are readers, and "
    "more for writers: each live read occupies a connection while it waits.",
    "server limit": "Raise the setting that the server names, or list the proxy in "
    "http.trusted_proxies: otherwise all clients behind it count as one.",
    "rate limit": "Permit one address more requests, and more at once: a hundred readers may "
    "share one, and each sends another request after every message.",
}
