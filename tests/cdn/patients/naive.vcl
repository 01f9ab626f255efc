# What is found in many a guide. It reads well, and it is no Fastly VCL: see test_fastly.py.
sub vcl_recv {
  set req.url = querystring.sort(req.url);
  # Meant to give each reader a copy of their own.
  if (req.http.Authorization) {
    set req.hash += req.http.Authorization;
  }
}

# Varnish's name for what Fastly calls vcl_fetch.
sub vcl_backend_response {
  if (beresp.http.Cache-Control ~ "public") {
    set beresp.ttl = 60s;
  }
  if (beresp.http.Cache-Control ~ "stale-while-revalidate") {
    set beresp.grace = 300s;
  }
}
