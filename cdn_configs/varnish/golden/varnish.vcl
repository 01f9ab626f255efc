# headgate cdn varnish {"upstream":"gateway.example.com:4437","host":"streams.example.com"}
#
# For Varnish 7 and Vinyl 9 (vinyld). Any user can run it:
#
#   varnishd -F -n FOLDER -a :8080 -f FILE -s malloc,1024m \
#       -s Transient=malloc,1024m -p thread_pool_max=5000 -p thread_pool_add_delay=0
#
# Each waiting reader occupies a thread; there are two pools of up to thread_pool_max threads. Copies
# with a lifetime under ten seconds are in the storage Transient, which is unbounded by default.

vcl 4.1;
import std;

backend headgate {
    .host = "gateway.example.com";
    .port = "4437";
    .connect_timeout = 2s;
    # The default, 60 s, is too short for long-polls of about a minute.
    .first_byte_timeout = 65s;
    .between_bytes_timeout = 65s;
}

sub vcl_recv {
    # Varnish sets X-Forwarded-For. With a Forwarded of its own, a client could exceed its limits.
    unset req.http.Forwarded;
    # The host is part of the key: requests with invented hosts could fill the cache.
    if (req.http.Host !~ "(?i)^streams[.]example[.]com(:[0-9]+)?$") { return (synth(421)); }
    # HEAD, too: Varnish would answer it from the copy of a GET, with an old tail.
    if (req.method != "GET") { return (pass); }
    # offset=now means another place in the stream with each request.
    if (req.url ~ "[?&]offset=now(&|$)") { return (pass); }
    # The gateway's own streams know readers by one cookie. Other cookies, such as those of web
    # statistics, do not keep a reader from shared copies.
    if (req.url ~ "^(?:/v1/stream)/") {
        std.collect(req.http.Cookie, "; ");
        if (req.http.Cookie ~ "(^|;)\s*__Secure-headgate=") {
            set req.http.Cookie = regsub(req.http.Cookie, "^(?:.*?;)?\s*(__Secure-headgate=[^;]*).*$", "\1");
        } else {
            unset req.http.Cookie;
        }
    }
    # From a shared copy, one user would get the response to another.
    if (req.http.Authorization) { return (pass); }
    if (req.http.Cookie) { return (pass); }
    if (req.url ~ "[?&]token=") { return (pass); }
    # Varnish would answer 416 to a range after the tail. The gateway answers such reads in whole.
    unset req.http.Range;
    # The gateway's own streams ignore all other parameters, which would only make further copies.
    if (req.url ~ "^(?:/v1/stream)/[^?&]*[?](.*&)?offset=") {
        set req.url = regsub(regsuball(req.url, "(?<=[?&])(?!(?:offset|live|cursor|view|batch_ms|lastEventId|rk|token)=)[A-Za-z0-9_.~-]+=[^&]*(?:&|$)", ""), "&$", "");
    }
    set req.url = std.querysort(req.url);
    return (hash);
}

sub vcl_hash {
    # A reader of SSE that reconnects continues after this event, not at the offset in the URL.
    hash_data(req.http.Last-Event-ID);
    # The key has the host in one spelling, whatever case and port a client sends.
    hash_data(req.url);
    hash_data("streams.example.com");
    return (lookup);
}

sub vcl_backend_fetch {
    # A gateway that takes longer counts as down. Requests that wait for news may take longer: live
    # reads, views, and paths of no route (models, MCP).
    if (bereq.url ~ "^(?:/v1/stream)/" && bereq.url !~ "[?&](live|view)=") {
        set bereq.first_byte_timeout = 10s;
    }
    # Without a return: the built-in code takes the body out of a GET, whose readers would wait for it.
}

sub vcl_backend_response {
    set beresp.do_stream = true;  # else no event of SSE arrives before the last
    set beresp.grace = 0s;  # by default 10 s, in which an old tail would be served
    set beresp.keep = 0s;
    if (bereq.uncacheable) { return (deliver); }
    # A stale copy was served meanwhile. It stays: an error would replace it.
    if (bereq.is_bgfetch && beresp.status >= 500) { return (abandon); }

    # Stored compressed, and decompressed for readers that do not accept gzip. Both have a weak ETag.
    if (beresp.status == 200 && beresp.http.Content-Type ~ "(?i)^(?:text/plain|text/csv|text/html|text/markdown|application/json|application/x-ndjson|application/ndjson) *(?:;|$)" && std.integer(beresp.http.Content-Length, 0) >= 1024
        && !(bereq.http.Authorization || bereq.http.Cookie) && beresp.http.Cache-Control !~ "(?i)private" && bereq.url !~ "[?&](rk|live)=") {
        set beresp.do_gzip = true;
        set beresp.http.ETag = regsub(beresp.http.ETag, {"^""}, {"W/""});
    }

    # Responses for one reader. All branches return: after a response that may not be stored, the
    # built-in code would make requests wait for one another for two minutes.
    if (beresp.http.Set-Cookie || beresp.http.Vary ~ "\*") { return (pass(1s)); }
    if (beresp.http.Cache-Control ~ "(?i)private") {
        return (pass(1s));
    }

    # SSE: readers that come within 2 s get the same events from the first on. Varnish does not end
    # the request when its last reader disconnects; the gateway does, after sse_max_age.
    if (bereq.url ~ "[?&]live=sse(&|$)" && beresp.status == 200) {
        set beresp.ttl = 2s;
        return (deliver);
    }

    # The lifetime that the gateway gives for shared caches.
    if (beresp.http.Surrogate-Control ~ "(?i)max-age=[0-9]") {
        set beresp.ttl = std.duration(regsub(beresp.http.Surrogate-Control, "(?i)^.*max-age=([0-9]+).*$", "\1s"), 0s);
    } elsif (beresp.http.Cache-Control !~ "(?i)max-age=[0-9]" || beresp.http.Cache-Control ~ "(?i)no-store") {
        set beresp.ttl = 0s;  # by default 2 minutes
    } elsif (beresp.http.Cache-Control ~ "(?i)no-cache" && beresp.http.Cache-Control !~ "(?i)s-maxage=") {
        set beresp.ttl = 0s;
    }

    # The stream may be created at any time, and clients give up for good at a 404.
    if (beresp.status == 404 && bereq.url ~ "[?&]offset=(-1|now)(&|$)") { return (pass(1s)); }

    if (bereq.url ~ "[?&]live=long-poll(&|$)") {
        # Other errors may concern only one client: the next waiting reader asks the gateway, and the
        # others wait for that response.
        if (beresp.status != 200 && beresp.status != 204 && beresp.status != 404 && beresp.status != 410 && beresp.status < 500) {
            set beresp.ttl = 0s;
            return (deliver);
        }
        # Responses without data are stored for 1 s, whatever their Cache-Control says. Otherwise the
        # waiting readers would ask the gateway one after the other, each for a whole long-poll. A
        # longer time would repeat a 204 to clients that ignore cursors.
        if (beresp.status != 200) { set beresp.ttl = 1s; }
        if (beresp.ttl <= 0s) { return (pass(1s)); }
        return (deliver);
    }

    if (beresp.status != 200 || beresp.ttl <= 0s) { return (pass(1s)); }
    # For this time a stale copy is served at once, while a new one is fetched.
    set beresp.grace = std.duration(regsub(beresp.http.Cache-Control, "(?i)^.*stale-while-revalidate=([0-9]+).*$", "\1s"), 0s);
    set beresp.keep = 10m;  # so that Varnish can revalidate it by its ETag
    return (deliver);
}

sub vcl_backend_error {
    # The stale copy stays while the gateway is away.
    if (bereq.is_bgfetch) { return (abandon); }
    # All waiting readers get this response now, not one after the other.
    set beresp.ttl = 1s;
    set beresp.grace = 0s;
    set beresp.http.Headgate-Away = "1";
    set beresp.http.Cache-Control = "no-store";
    set beresp.http.Content-Type = "text/plain";
    set beresp.body = "the gateway is away" + {"
"};
    return (deliver);
}

sub vcl_synth {
    # Responses that Varnish makes itself do not pass vcl_deliver.
    if (resp.status == 503) {
        set resp.http.Cache-Control = "no-store";
        set resp.http.Content-Type = "text/plain";
        call headgate_away;
        set resp.body = "the gateway is away" + {"
"};
    }
    set resp.http.Headgate-Config = "varnish/6497c50727624314";
    if (resp.status == 1200) {
        set resp.status = 200;
        set resp.reason = "OK";
        set resp.http.Content-Type = "text/event-stream";
        set resp.http.Cache-Control = "no-store";
        call headgate_away;
        set resp.body = {": the gateway is away
retry: "} + regsub("" + std.random(1000, 3000), "\..*", "") + {"

"};
        return (deliver);
    }
}

# Clients retry at random times, so that not all come at once.
sub headgate_later {
    set resp.http.Retry-After = regsub("" + std.random(1, 4), "\..*", "");
}

# Fields of every response while the gateway is away. Without CORS fields, pages do not see the status.
sub headgate_away {
    call headgate_later;
    set resp.http.Access-Control-Allow-Origin = "*";
    set resp.http.Access-Control-Expose-Headers = "Retry-After";
}

sub vcl_deliver {
    if (resp.http.Headgate-Away) {
        # An EventSource gives up for good at any status other than 200. It sends both header fields;
        # other clients of SSE handle the status.
        if (req.method == "GET" && req.url ~ "[?&]live=sse(&|$)" && req.http.Accept ~ "(?i)text/event-stream" && req.http.Cache-Control ~ "(?i)no-cache") {
            return (synth(1200));
        }
        unset resp.http.Headgate-Away;
        call headgate_away;
    }
    # All readers of a shared response have the same Retry-After: make it random for each of them.
    if (resp.http.Retry-After ~ "^[1-3]$") { call headgate_later; }
    if (obj.uncacheable) { set resp.http.X-Cache = "PASS"; }
    elsif (obj.hits > 0) { set resp.http.X-Cache = "HIT"; }
    else { set resp.http.X-Cache = "MISS"; }
    set resp.http.X-Cache-Hits = obj.hits;
    # For pages that measure their reads (Resource Timing). Pages of other web sites see it only for
    # public streams that CORS lets them read.
    set resp.http.Server-Timing = "cache;desc=" + std.tolower(resp.http.X-Cache);
    if (!obj.uncacheable && !(req.http.Authorization || req.http.Cookie || req.url ~ "[?&]token=") && req.url !~ "[?&]rk=" && resp.http.Cache-Control !~ "(?i)private") {
        set resp.http.Timing-Allow-Origin = resp.http.Access-Control-Allow-Origin;
    }
    # headgate doctor compares this digest of the file with the settings.
    set resp.http.Headgate-Config = "varnish/6497c50727624314";
    unset resp.http.Surrogate-Control;  # for this cache only
}
