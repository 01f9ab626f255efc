"""Advice for checks that failed: what to change, at whatever hop is to blame."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate_doctor.finding import Advice

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
    "SSE compressed": "Do not compress text/event-stream, or flush after each event.",
    "keep-alive": "Keep the hop's read time-out above live.sse_heartbeat, 12 s unless set, and its "
    "limit for a whole response above live.sse_max_age, 60 s unless set. Let comments through.",
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
    "SSE joined": "Send each reader of SSE all events from its offset: join no response that has "
    "begun, unless what it has sent is kept and sent again.",
    "Last-Event-ID": "Pass Last-Event-ID on, put it into the key where SSE is joined, and pass "
    "the ids of events on.",
    "control": "Pass all events on, with their names: those of the name control say where to go "
    "on, and that a stream is closed.",
    "polls' data": "Give each long-poll the whole response of the server, with its body.",
    "HEAD of chunks": "Pass HEAD on as HEAD, and do not cache the response: in nginx by "
    "proxy_cache_convert_head off.",
    "deleted tail": "Store a response with Stream-Up-To-Date for a second at most, and serve it "
    "stale neither while it is updated nor after a 404.",
    "files": "Let no rule for files by their extension, such as .js, .css or .png, count for "
    "streams: their names are free.",
    "cookies": "Set no cookie, as load balancers do for sticky sessions: caches do not store such "
    "responses, or give one reader's cookie to all, and take readers that send it for signed in.",
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
    "answered early": "Acknowledge no append before the server does, not even an empty one, with "
    "which a stream is closed: pass it on, and then the response.",
    "up to date": "Add no Stream-Up-To-Date: it is the server's, for a response with the tail.",
    "Host": "Pass Host on as it was sent, in nginx by proxy_set_header Host $http_host: the server "
    "makes the Location of a new stream of it. A hop that cannot may write its own host there.",
    "304": "Pass the status of responses on: a 304 has no body, and 200 with no body is taken for "
    "a stream without data.",
    "Vary": "Put Origin into the cache key where responses vary by it, or obey Vary.",
    "configuration": "Render the file again with the options at its beginning, deploy it, and "
    "let its header Headgate-Config through.",
    "live in key": "Put live into the cache key.",
    "rewritten": "Pass bodies on as bytes: nothing may decode them as text, or rewrite them.",
    "repeated append": "Pass all header fields of requests on, Producer-Id, Producer-Epoch and "
    "Producer-Seq among them: without them every append that is sent again is stored twice.",
    "request fields": "Pass all header fields of requests on, with their values: Stream-TTL, "
    "Stream-Expires-At, Stream-Closed, Stream-Seq, Content-Type, If-None-Match, Last-Event-ID and "
    "the Producer fields among them.",
    "cut fields": "Pass the values of fields on in full, however long: offsets and tags have no "
    "limit.",
    "fields twice": "Let only the server set its fields: a field that comes twice has no value.",
    "statuses": "Pass the status of responses on as it is.",
    "reads": "Pass GET on: a stream that was made and written can be read, with STREAM_AUTH if it "
    "needs that.",
    "redirects": "Redirect no requests: examine the URL that they lead to, and give that one to "
    "readers.",
    "Vary *": "Pass Vary on as it is.",
    "tags": "Pass If-None-Match and ETag on unchanged, and confirm a tag from no copy that is "
    "older than the server permits.",
    "bodies": "Pass bodies on as bytes: nothing may rewrite pages, JSON or links.",
    "old": "Answer HEAD and offset=now from no copy, and others at the tail from none that is "
    "older than a second.",
    "PUT body": "Pass the body of PUT on.",
    "equal appends": "Join no appends, also if they are equal: each is to be stored.",
    "chunked": "Allow bodies of requests without Content-Length, in chunks: clients append what "
    "they do not have in full yet.",
    "refused content": "Let no filter of a firewall look into the bodies of appends: they are data "
    "of an application, and may look like anything.",
    "encoding": "Pass Content-Encoding on with the body that it is of, or compress nothing.",
    "copies": "Put the method, Range, and the encoding into the cache key, or fetch whole "
    "responses without these fields and make the others from them.",
    "queries": "Pass the query on, and put it into the cache key, as it was sent: not decoded, and "
    "in its own case.",
    "long requests": "Allow header fields of 8 KiB in requests: a token with many claims has half "
    "of it.",
    "removal": "Pass DELETE on, and its response.",
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
