# headgate cdn fastly {"upstream":"gateway.example.com:4437","host":"streams.example.com"}

backend F_headgate {
  .host = "gateway.example.com";
  .port = "4437";
  .connect_timeout = 2s;
  # The default of 15 s is shorter than a long-poll of 20 s: idle polls would get 503.
  .first_byte_timeout = 59s;
  # When it expires, Fastly stores a part of a response as a whole one. Heartbeats (15 s) prevent that.
  .between_bytes_timeout = 59s;
  # The default is 200. Each node needs one for the polls of a stream, and one for its SSE readers.
  .max_connections = 1000;
}

sub vcl_recv {
  #FASTLY recv
  set req.backend = F_headgate;

  # Without this, anybody could purge a URL.
  if (req.method == "FASTLYPURGE") {
    set req.http.Fastly-Purge-Requires-Auth = "1";
  }
  # Fastly sets X-Forwarded-For. With a Forwarded of its own, a client could exceed its limits.
  unset req.http.Forwarded;
  # Writes, and HEAD, which would be answered from a stored GET, with an old tail.
  if (req.method != "GET" && req.method != "FASTLYPURGE") {
    return(pass);
  }
  # The gateway's own streams know readers by one cookie. Other cookies, such as those of web
  # statistics, do not keep a reader from shared copies.
  if (req.url ~ "^(?:/v1/stream)/") {
    std.collect(req.http.Cookie, "; ");
    if (req.http.Cookie ~ "(?:^|;)\s*__Secure-headgate=") {
      set req.http.Cookie = regsub(req.http.Cookie, "^(?:.*?;)??\s*(__Secure-headgate=[^;]*).*$", "\1");
    } else {
      unset req.http.Cookie;
    }
  }
  # Responses to readers with credentials are not shared.
  if (req.http.Authorization || req.http.Cookie || req.url ~ "[?&]token=") {
    return(pass);
  }
  # offset=now means another place in the stream with each request.
  if (req.url ~ "[?&]offset=now(?:&|$)") {
    return(pass);
  }
  # Fastly would answer 416 to a range after the tail. The gateway answers such reads in whole.
  unset req.http.Range;
  # The gateway's own streams ignore all other parameters, which would only make further copies.
  if (req.url ~ "^(?:/v1/stream)/[^?&]*[?](.*&)?offset=") {
    set req.url = regsub(regsuball(req.url, "(?<=[?&])(?!(?:offset|live|cursor|view|batch_ms|lastEventId|rk|token)=)[A-Za-z0-9_.~-]+=[^&]*(?:&|$)", ""), "&$", "");
  }
  # The order of the parameters makes no difference to the key.
  set req.url = querystring.sort(req.url);
  return(lookup);
}

sub vcl_hash {
  set req.hash += req.url;
  set req.hash += req.http.host;
  # A reader of SSE that reconnects continues after this event, not at the offset in the URL.
  set req.hash += req.http.Last-Event-ID;
  #FASTLY hash
  return(hash);
}

sub vcl_miss {
  #FASTLY miss

  # A gateway that takes longer counts as down. Requests that wait for news may take longer.
  if (req.url ~ "^(?:/v1/stream)/" && req.url !~ "[?&](?:live|view)=") {
    set bereq.first_byte_timeout = 10s;
  }
  return(fetch);
}

sub vcl_pass {
  #FASTLY pass

  # A gateway that takes longer counts as down. Requests that wait for news may take longer.
  if (req.url ~ "^(?:/v1/stream)/" && req.url !~ "[?&](?:live|view)=") {
    set bereq.first_byte_timeout = 10s;
  }
  return(pass);
}

sub vcl_fetch {
  #FASTLY fetch

  # Send each event at once.
  if (beresp.http.Content-Type ~ "(?i)^text/event-stream") {
    set beresp.do_stream = true;
  }
  # Responses to live reads are never served stale.
  if (req.url ~ "[?&]live=") {
    set beresp.stale_while_revalidate = 0s;
    set beresp.stale_if_error = 0s;
  }
  # A stale copy is served instead of an error, and stays stored.
  if (beresp.status >= 500 && stale.exists) {
    return(deliver_stale);
  }
  # Responses for one reader. Fastly itself ignores these fields.
  if (beresp.http.Cache-Control ~ "(?i)private" || beresp.http.Set-Cookie || beresp.http.Vary ~ "\*") {
    set beresp.cacheable = true;
    set beresp.ttl = 1s;
    return(pass);
  }
  # SSE readers that come within 2 s share this response from its beginning.
  if (req.url ~ "[?&]live=sse(?:&|$)" && beresp.status == 200) {
    set beresp.cacheable = true;
    set beresp.ttl = 2s;
    return(deliver);
  }
  # The stream may be created at any time, and clients give up for good at a 404.
  if (beresp.status == 404 && req.url ~ "[?&]offset=(?:-1|now)(?:&|$)") {
    set beresp.cacheable = true;
    set beresp.ttl = 1s;
    return(pass);
  }
  # Responses to long-polls without data are stored for 1 s. Otherwise the waiting readers would ask the
  # gateway one after the other, each for a whole long-poll. Other errors may concern only one client.
  if (req.url ~ "[?&]live=long-poll(?:&|$)"
      && (beresp.status == 204 || beresp.status == 404 || beresp.status == 410 || beresp.status >= 500)) {
    set beresp.cacheable = true;
    set beresp.ttl = 1s;
    return(deliver);
  }
  # Responses that may not be stored. For 1 s, equal requests do not wait for one another. Without a
  # lifetime Fastly would store the response for two minutes.
  if ((beresp.status != 200 && beresp.status != 304)
      || (beresp.http.Surrogate-Control !~ "max-age=[1-9]" && beresp.http.Cache-Control !~ "s-maxage=[1-9]"
          && (beresp.http.Cache-Control ~ "(?i)no-store|no-cache" || beresp.http.Cache-Control !~ "max-age=[1-9]"))) {
    set beresp.cacheable = true;
    set beresp.ttl = 1s;
    return(pass);
  }
  # Other responses have the lifetime in their Surrogate-Control or Cache-Control.
  # History of public streams is stored compressed, one copy for each coding.
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

  # For pages that measure their reads (Resource Timing). Pages of other web sites see it only for
  # public streams that CORS lets them read.
  set resp.http.Server-Timing = "cache;desc=miss";
  if (fastly_info.state ~ "^HIT") {
    set resp.http.Server-Timing = "cache;desc=hit";
  }
  if (!(req.http.Authorization || req.http.Cookie || req.url ~ "[?&](?:rk|token)=") && resp.http.Cache-Control !~ "(?i)private") {
    set resp.http.Timing-Allow-Origin = resp.http.Access-Control-Allow-Origin;
  }
  # headgate doctor compares this digest of the file with the settings.
  set resp.http.Headgate-Config = "fastly/4d9aad57a9a0d19f";
  return(deliver);
}

sub vcl_error {
  #FASTLY error

  # Serve a stale copy while the gateway is away.
  if (obj.status >= 500 && stale.exists) {
    return(deliver_stale);
  }
  set obj.http.Retry-After = randomint(1, 3);
  set obj.http.Cache-Control = "no-store";
  # Without CORS fields, pages do not see the status.
  set obj.http.Access-Control-Allow-Origin = "*";
  set obj.http.Access-Control-Expose-Headers = "Retry-After";
  # An EventSource gives up for good at any status other than 200. It sends both header fields; other
  # clients of SSE handle the status.
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
