# What is found in many a guide. It reads well, and it is no Fastly VCL: see test_fastly.py.
sub vcl_recv {
  # Normalize query parameters for better cache hits
  set req.url = querystring.sort(req.url);
  # Cache based on Authorization header for private streams
  if (req.http.Authorization) {
    set req.hash += req.http.Authorization;
  }
}

sub vcl_backend_response {
  # Respect origin Cache-Control
  if (beresp.http.Cache-Control ~ "public") {
    set beresp.ttl = 60s;
  }
  # Enable stale-while-revalidate
  if (beresp.http.Cache-Control ~ "stale-while-revalidate") {
    set beresp.grace = 300s;
  }
}
