# headgate cdn fastly {"upstream":"gateway.example.com:4437","host":"streams.example.com"}

backend F_headgate {
  .host = "gateway.example.com";
  .port = "4437";
  .connect_timeout = 2s;
  # The default of 15 s is shorter than a long-poll of 20 s: idle polls would get 503.
  .first_byte_timeout = 59s;
  # Expired, it makes a part of an answer a whole one, and stores it. Heartbeats (15 s) prevent that.
  .between_bytes_timeout = 59s;
  # The default is 200. A stream takes one for its polls and one for its SSE readers, of each node.
  .max_connections = 1000;
}

sub vcl_recv {
  #FASTLY recv
  set req.backend = F_headgate;

  # Without this, anybody may purge a URL.
  if (req.method == "FASTLYPURGE") {
    set req.http.Fastly-Purge-Requires-Auth = "1";
  }
  # Fastly writes X-Forwarded-For. What a client says of itself here would give it its quota twice.
  unset req.http.Forwarded;
  # Writes must arrive, and HEAD must tell the tail of now, not that of a stored GET.
  if (req.method != "GET" && req.method != "FASTLYPURGE") {
    return(pass);
  }
  # The streams of the gateway's own storage know readers by one cookie. Another, as of web statistics,
  # does not keep its reader from the copies of all.
  if (req.url ~ "^(?:/v1/stream)/") {
    std.collect(req.http.Cookie, "; ");
    if (req.http.Cookie ~ "(?:^|;)\s*__Secure-headgate=") {
      set req.http.Cookie = regsub(req.http.Cookie, "^(?:.*?;)?\s*(__Secure-headgate=[^;]*).*$", "\1");
    } else {
      unset req.http.Cookie;
    }
  }
  # What one reader may see is nobody else's.
  if (req.http.Authorization || req.http.Cookie || req.url ~ "[?&]token=") {
    return(pass);
  }
  # The same URL means another place each time. What nobody may keep would come too late for all but
  # the first of those who wait for it here.
  if (req.url ~ "[?&]offset=now(?:&|$)") {
    return(pass);
  }
  # Readers are promised a tail whole, and of a stored one Fastly would make 416 for a range behind it.
  unset req.http.Range;
  # Streams of own logs ignore all other parameters. In the key, each value would be another copy.
  if (req.url ~ "^(?:/v1/stream)/[^?&]*[?](.*&)?offset=") {
    set req.url = regsub(regsuball(req.url, "(?<=[?&])(?!(?:offset|live|cursor|view|batch_ms|lastEventId|rk|token)=)[A-Za-z0-9_.~-]+=[^&]*(?:&|$)", ""), "&$", "");
  }
  # The same question in another order is the same question.
  set req.url = querystring.sort(req.url);
  return(lookup);
}

sub vcl_hash {
  set req.hash += req.url;
  set req.hash += req.http.host;
  # A reader of SSE who comes back: the place after this event goes before that in the URL.
  set req.hash += req.http.Last-Event-ID;
  #FASTLY hash
  return(hash);
}

sub vcl_miss {
  #FASTLY miss

  # A gateway that takes longer hangs; what waits for news (live reads, views, models) takes longer.
  if (req.url ~ "^(?:/v1/stream)/" && req.url !~ "[?&](?:live|view)=") {
    set bereq.first_byte_timeout = 10s;
  }
  return(fetch);
}

sub vcl_pass {
  #FASTLY pass

  # A gateway that takes longer hangs; what waits for news (live reads, views, models) takes longer.
  if (req.url ~ "^(?:/v1/stream)/" && req.url !~ "[?&](?:live|view)=") {
    set bereq.first_byte_timeout = 10s;
  }
  return(pass);
}

sub vcl_fetch {
  #FASTLY fetch

  # Each event goes on as it comes.
  if (beresp.http.Content-Type ~ "(?i)^text/event-stream") {
    set beresp.do_stream = true;
  }
  # Live answers are never served stale: they would repeat old news.
  if (req.url ~ "[?&]live=") {
    set beresp.stale_while_revalidate = 0s;
    set beresp.stale_if_error = 0s;
  }
  # While the gateway fails, a copy that may be stale goes on to be given; this would replace it.
  if (beresp.status >= 500 && stale.exists) {
    return(deliver_stale);
  }
  # An answer for somebody. Fastly obeys none of these by itself.
  if (beresp.http.Cache-Control ~ "(?i)private" || beresp.http.Set-Cookie || beresp.http.Vary ~ "\*") {
    set beresp.cacheable = true;
    set beresp.ttl = 1s;
    return(pass);
  }
  # Who comes within 2 s joins the stream under way, and is sent it from its beginning.
  if (req.url ~ "[?&]live=sse(?:&|$)" && beresp.status == 200) {
    set beresp.cacheable = true;
    set beresp.ttl = 2s;
    return(deliver);
  }
  # A stream may begin here at any time, and official clients stop for good at a 404.
  if (beresp.status == 404 && req.url ~ "[?&]offset=(?:-1|now)(?:&|$)") {
    set beresp.cacheable = true;
    set beresp.ttl = 1s;
    return(pass);
  }
  # Those who wait for what is not stored are asked for one after the other, each for a whole
  # long-poll. So what has no data is stored too: 204, and what Fastly stores no sooner, an error.
  # What is wrong in one client's request, or too much, is nothing to those who wait.
  if (req.url ~ "[?&]live=long-poll(?:&|$)"
      && (beresp.status == 204 || beresp.status == 404 || beresp.status == 410 || beresp.status >= 500)) {
    set beresp.cacheable = true;
    set beresp.ttl = 1s;
    return(deliver);
  }
  # All else that may not be kept: nobody waits for it, and for 1 s nobody waits for the next.
  # Without a lifetime Fastly would keep it for two minutes.
  if ((beresp.status != 200 && beresp.status != 304)
      || (beresp.http.Surrogate-Control !~ "max-age=[1-9]" && beresp.http.Cache-Control !~ "s-maxage=[1-9]"
          && (beresp.http.Cache-Control ~ "(?i)no-store|no-cache" || beresp.http.Cache-Control !~ "max-age=[1-9]"))) {
    set beresp.cacheable = true;
    set beresp.ttl = 1s;
    return(pass);
  }
  # The rest is kept for as long as the gateway says, by Surrogate-Control or Cache-Control.
  # History that everybody may read is stored compressed, one copy for each coding.
  if (!(req.http.Authorization || req.http.Cookie || req.url ~ "[?&](?:rk|token)=") && req.url !~ "[?&]live=" && !beresp.http.Content-Encoding && std.atoi(beresp.http.Content-Length) >= 1024 && beresp.http.Content-Type ~ "(?i)^(?:text/plain|text/csv|text/html|text/markdown|application/json|application/x-ndjson|application/ndjson) *(?:;|$)") {
    if (beresp.http.Vary) {
      set beresp.http.Vary = beresp.http.Vary + ", Accept-Encoding";
    } else {
      set beresp.http.Vary = "Accept-Encoding";
    }
    set beresp.http.ETag = regsub(beresp.http.ETag, {"^""}, {"W/""});
    if (req.http.Accept-Encoding == "br") {
      set beresp.brotli = true;
    } elsif (req.http.Accept-Encoding == "gzip") {
      set beresp.gzip = true;
    }
  }
  return(deliver);
}

sub vcl_deliver {
  #FASTLY deliver

  # For pages that measure how long their reads take (Resource Timing). Pages of other sites see it of
  # what everybody may read, if the gateway lets them read that.
  set resp.http.Server-Timing = "cache;desc=miss";
  if (fastly_info.state ~ "^HIT") {
    set resp.http.Server-Timing = "cache;desc=hit";
  }
  if (!(req.http.Authorization || req.http.Cookie || req.url ~ "[?&](?:rk|token)=") && resp.http.Cache-Control !~ "(?i)private") {
    set resp.http.Timing-Allow-Origin = resp.http.Access-Control-Allow-Origin;
  }
  # By which the doctor tells whether this file is what its settings ask for.
  set resp.http.Headgate-Config = "fastly/36ff9a6bb6fb05b7";
  return(deliver);
}

sub vcl_error {
  #FASTLY error

  # The same, while the gateway is away.
  if (obj.status >= 500 && stale.exists) {
    return(deliver_stale);
  }
  set obj.http.Retry-After = randomint(1, 3);
  set obj.http.Cache-Control = "no-store";
  # Without it a page sees no status.
  set obj.http.Access-Control-Allow-Origin = "*";
  set obj.http.Access-Control-Expose-Headers = "Retry-After";
  # An EventSource closes for good at any status but 200. The standard has it send both fields; whoever
  # sets Accept by itself goes by the status.
  if (obj.status >= 500 && req.method == "GET" && req.url ~ "[?&]live=sse(?:&|$)" && req.http.Accept ~ "(?i)text/event-stream" && req.http.Cache-Control ~ "(?i)no-cache") {
    set obj.status = 200;
    set obj.response = "OK";
    set obj.http.Content-Type = "text/event-stream";
    synthetic {": the gateway is away
retry: "} randomint(1000, 3000) {"

"};
  }
  return(deliver);
}
