# headgate cdn aws-alb {"upstream":"gateway.example.com:4437","host":"streams.example.com"}
# Made for one own log at /v1/stream: nobody signs in, unless by Authorization, a token in the URL
# or the cookie __Secure-headgate; no other cookie counts.
# Commands of the AWS CLI. Set LOAD_BALANCER and TARGET_GROUP to the ARNs of yours. Readers use
# streams.example.com. The targets are gateways at port 4437, with protocol HTTP and version HTTP1.

# By default the load balancer closes a connection after 60 s without a byte. This time is longer than
# a long-poll, and than the interval of SSE heartbeats.
aws elbv2 modify-load-balancer-attributes \
    --load-balancer-arn "$LOAD_BALANCER" \
    --attributes \
    Key=idle_timeout.timeout_seconds,Value=65 \
    Key=client_keep_alive.seconds,Value=3600 \
    Key=routing.http.preserve_host_header.enabled,Value=true \
    Key=routing.http.xff_header_processing.mode,Value=append

# The gateways have to keep idle connections for longer than the load balancer. Otherwise an append may
# get 502. In their settings: http.keepalive_timeout = 75, or more.

# A gateway that is removed has this time to answer the long-polls that wait there.
aws elbv2 modify-target-group-attributes \
    --target-group-arn "$TARGET_GROUP" \
    --attributes \
    Key=deregistration_delay.timeout_seconds,Value=65
