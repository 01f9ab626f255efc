# headgate cdn varnish {"upstream":"gateway.example.com:4437","host":"streams.example.com"}
#
# For Varnish 7 and Vinyl 9 (vinyld). Anybody may run it:
#
#   varnishd -F -n FOLDER -a :8080 -f FILE -s malloc,1024m \
#       -s Transient=malloc,1024m -p thread_pool_max=5000 -p thread_pool_add_delay=0
#
# A thread waits with each reader who waits: thread_pool_max is of each of two pools. What is kept
# for under ten seconds is in the storage Transient, which has no bound unless it is given one.

vcl 4.1;
import std;

backend headgate {
    .host = "gateway.example.com";
    .port = "4437";
    .connect_timeout = 2s;
    # 60 s by default, which many long-polls are near to.
    .first_byte_timeout = 65s;
    .between_bytes_timeout = 65s;
}

sub vcl_recv {
    # Varnish writes X-Forwarded-For. What a client says of itself here would give it its quota twice.
    unset req.http.Forwarded;
    # The host is part of the key: each invented one would fill the cache with copies.
    if (req.http.Host !~ "(?i)^streams[.]example[.]com(:[0-9]+)?$") { return (synth(421)); }
    # HEAD, too: Varnish would send a GET instead, and tell an old tail from its copy.
    if (req.method != "GET") { return (pass); }
    # The same URL means another place each time. What nobody may keep would come too late for all but
    # the first of those who wait for it here.
    if (req.url ~ "[?&]offset=now(&|$)") { return (pass); }
    # The streams of the gateway's own storage know readers by one cookie. Another, as of web statistics,
    # does not keep its reader from the copies of all.
    if (req.url ~ "^(?:/v1/stream)/") {
        std.collect(req.http.Cookie, "; ");
        if (req.http.Cookie ~ "(^|;)\s*__Secure-headgate=") {
            set req.http.Cookie = regsub(req.http.Cookie, "^(?:.*?;)?\s*(__Secure-headgate=[^;]*).*$", "\1");
        } else {
            unset req.http.Cookie;
        }
    }
    # One key for two users would give one the other's answers.
    if (req.http.Authorization) { return (pass); }
    if (req.http.Cookie) { return (pass); }
    if (req.url ~ "[?&]token=") { return (pass); }
    # Of a tail Varnish would make 416 for a range that begins behind it; readers are promised it whole.
    unset req.http.Range;
    # Streams of own logs ignore all other parameters. In the key, each value would be another copy.
    if (req.url ~ "^(?:/v1/stream)/[^?&]*[?](.*&)?offset=") {
        set req.url = regsub(regsuball(req.url, "(?<=[?&])(?!(?:offset|live|cursor|view|batch_ms|lastEventId|rk|token)=)[A-Za-z0-9_.~-]+=[^&]*(?:&|$)", ""), "&$", "");
    }
    set req.url = std.querysort(req.url);
    return (hash);
}

sub vcl_hash {
    # A reader of SSE who comes back: the place after this event goes before that in the URL.
    hash_data(req.http.Last-Event-ID);
    # The host in one spelling: clients write its case and port as they like.
    hash_data(req.url);
    hash_data("streams.example.com");
    return (lookup);
}

sub vcl_backend_fetch {
    # A gateway that takes longer hangs. What waits for news takes longer: live reads and views, and
    # paths of no route (models, MCP).
    if (bereq.url ~ "^(?:/v1/stream)/" && bereq.url !~ "[?&](live|view)=") {
        set bereq.first_byte_timeout = 10s;
    }
    return (fetch);
}

sub vcl_backend_response {
    set beresp.do_stream = true;  # else no event of SSE comes through before the last
    set beresp.grace = 0s;  # 10 s by default, in which an old tail would be given out
    set beresp.keep = 0s;
    if (bereq.uncacheable) { return (deliver); }
    # A stale copy was given meanwhile, and goes on to be: what is stored now would replace it.
    if (bereq.is_bgfetch && beresp.status >= 500) { return (abandon); }

    # Stored compressed, and unpacked for readers who do not take that: both have a weak ETag.
    if (beresp.status == 200 && beresp.http.Content-Type ~ "(?i)^(?:text/plain|text/csv|text/html|text/markdown|application/json|application/x-ndjson|application/ndjson) *(?:;|$)" && std.integer(beresp.http.Content-Length, 0) >= 1024
        && !(bereq.http.Authorization || bereq.http.Cookie) && beresp.http.Cache-Control !~ "(?i)private" && bereq.url !~ "[?&](rk|live)=") {
        set beresp.do_gzip = true;
        set beresp.http.ETag = regsub(beresp.http.ETag, {"^""}, {"W/""});
    }

    # An answer for somebody. All branches return: the builtin code would have everybody who waits
    # go on one after the other for two minutes whenever an answer may not be kept.
    if (beresp.http.Set-Cookie || beresp.http.Vary ~ "\*") { return (pass(1s)); }
    if (beresp.http.Cache-Control ~ "(?i)private") {
        return (pass(1s));
    }

    # SSE: whoever comes within the next moments is given the same events from the first on. It has
    # to end soon after the last reader is gone, which Varnish does not tell: sse_max_age.
    if (bereq.url ~ "[?&]live=sse(&|$)" && beresp.status == 200) {
        set beresp.ttl = 2s;
        return (deliver);
    }

    # How long the gateway lets shared caches keep it.
    if (beresp.http.Surrogate-Control ~ "(?i)max-age=[0-9]") {
        set beresp.ttl = std.duration(regsub(beresp.http.Surrogate-Control, "(?i)^.*max-age=([0-9]+).*$", "\1s"), 0s);
    } elsif (beresp.http.Cache-Control !~ "(?i)max-age=[0-9]" || beresp.http.Cache-Control ~ "(?i)no-store") {
        set beresp.ttl = 0s;  # two minutes by default
    } elsif (beresp.http.Cache-Control ~ "(?i)no-cache" && beresp.http.Cache-Control !~ "(?i)s-maxage=") {
        set beresp.ttl = 0s;
    }

    # A stream may begin here at any time, and official clients stop for good at a 404.
    if (beresp.status == 404 && bereq.url ~ "[?&]offset=(-1|now)(&|$)") { return (pass(1s)); }

    if (bereq.url ~ "[?&]live=long-poll(&|$)") {
        # What is wrong in one client's request, or too much, is nothing to those who wait: the next of
        # them asks, and the others go on waiting for that answer.
        if (beresp.status != 200 && beresp.status != 204 && beresp.status != 404 && beresp.status != 410 && beresp.status < 500) {
            set beresp.ttl = 0s;
            return (deliver);
        }
        # Without data, whatever it says: if nobody might keep it, those who wait would go to the
        # gateway in turn, each turn a whole long-poll. Longer, and it would answer clients who
        # ignore cursors with itself, again and again.
        if (beresp.status != 200) { set beresp.ttl = 1s; }
        if (beresp.ttl <= 0s) { return (pass(1s)); }
        return (deliver);
    }

    if (beresp.status != 200 || beresp.ttl <= 0s) { return (pass(1s)); }
    # Stale, it is given out at once, and made fresh behind.
    set beresp.grace = std.duration(regsub(beresp.http.Cache-Control, "(?i)^.*stale-while-revalidate=([0-9]+).*$", "\1s"), 0s);
    set beresp.keep = 10m;  # so that it is asked for by its tag
    return (deliver);
}

sub vcl_backend_error {
    # As for an answer that says so: the gateway is away, and the stale copy is not.
    if (bereq.is_bgfetch) { return (abandon); }
    # Everybody who waited is told now, and not one after the other.
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
    # Answers that Varnish makes itself do not come by vcl_deliver.
    if (resp.status == 503) {
        set resp.http.Cache-Control = "no-store";
        set resp.http.Content-Type = "text/plain";
        call headgate_away;
        set resp.body = "the gateway is away" + {"
"};
    }
    set resp.http.Headgate-Config = "varnish/2dd761b56c870cfb";
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

# When to come back: not all at once.
sub headgate_later {
    set resp.http.Retry-After = regsub("" + std.random(1, 4), "\..*", "");
}

# What is said of every answer while the gateway is away; without it a page sees no status.
sub headgate_away {
    call headgate_later;
    set resp.http.Access-Control-Allow-Origin = "*";
    set resp.http.Access-Control-Expose-Headers = "Retry-After";
}

sub vcl_deliver {
    if (resp.http.Headgate-Away) {
        # An EventSource closes for good at any status but 200. The standard has it send both fields;
        # whoever sets Accept by itself goes by the status.
        if (req.method == "GET" && req.url ~ "[?&]live=sse(&|$)" && req.http.Accept ~ "(?i)text/event-stream" && req.http.Cache-Control ~ "(?i)no-cache") {
            return (synth(1200));
        }
        unset resp.http.Headgate-Away;
        call headgate_away;
    }
    # An answer that many waited for has one time to come back, and gets several here.
    if (resp.http.Retry-After ~ "^[1-3]$") { call headgate_later; }
    if (obj.uncacheable) { set resp.http.X-Cache = "PASS"; }
    elsif (obj.hits > 0) { set resp.http.X-Cache = "HIT"; }
    else { set resp.http.X-Cache = "MISS"; }
    set resp.http.X-Cache-Hits = obj.hits;
    # For pages that measure how long their reads take (Resource Timing). Pages of other sites see it of
    # what everybody may read, if the gateway lets them read that.
    set resp.http.Server-Timing = "cache;desc=" + std.tolower(resp.http.X-Cache);
    if (!obj.uncacheable && !(req.http.Authorization || req.http.Cookie || req.url ~ "[?&]token=") && req.url !~ "[?&]rk=" && resp.http.Cache-Control !~ "(?i)private") {
        set resp.http.Timing-Allow-Origin = resp.http.Access-Control-Allow-Origin;
    }
    # By which the doctor tells whether this file is what its settings ask for.
    set resp.http.Headgate-Config = "varnish/2dd761b56c870cfb";
    unset resp.http.Surrogate-Control;  # said to this cache alone
}
