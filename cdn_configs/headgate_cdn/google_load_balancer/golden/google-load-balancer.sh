# headgate cdn google-load-balancer {"upstream":"gateway.example.com:4437","host":"streams.example.com"}
# Made for one own log at /v1/stream: nobody signs in, unless by Authorization, a token in the URL
# or the cookie __Secure-headgate; no other cookie counts.
# A command of the gcloud CLI. Set BACKEND_SERVICE to the name of yours, and SCOPE to --global or to
# --region=REGION. Readers use streams.example.com. The backends are gateways at port 4437, by HTTP.

# By default the load balancer ends a response after 30 s, also SSE. A day is longer than any response:
# the gateway itself ends a long-poll after 20 s, and SSE after live.sse_max_age.
gcloud compute backend-services update "$BACKEND_SERVICE" "$SCOPE" \
    --protocol=HTTP \
    --timeout=86400s \
    --no-enable-cdn \
    --custom-response-header='Headgate-Config: google-load-balancer/9a17e115e91fdd01' \
    --connection-draining-timeout=65s

# The load balancer keeps idle connections to the gateways for 600 s, which cannot be changed. The
# gateways have to keep them for longer. Otherwise an append may get 502. In their settings:
# http.keepalive_timeout = 620.
