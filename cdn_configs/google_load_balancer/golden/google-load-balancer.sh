# headgate cdn google-load-balancer {"upstream":"gateway.example.com:4437","host":"streams.example.com"}
# Commands of the gcloud CLI: set BACKEND_SERVICE to the name of yours, and SCOPE to --global or to
# --region=REGION. Readers use streams.example.com; the backends are gateways at port 4437 (HTTP).

# By default an answer has to be whole after 30 s, and SSE is one answer. A day ends none: the
# gateway itself ends a long-poll after 20 s, and SSE after sse_max_age.
gcloud compute backend-services update "$BACKEND_SERVICE" "$SCOPE" \
    --protocol=HTTP \
    --timeout=86400s \
    --no-enable-cdn \
    --custom-response-header='Headgate-Config: google-load-balancer/f0f22d74d3bac1ac' \
    --connection-draining-timeout=65s

# It keeps idle connections to the gateways for 600 s, which cannot be set. The gateways have to keep
# them for longer, or an append now and then gets 502. In their settings: keepalive_timeout = 620.
