# headgate cdn aws-alb {"upstream":"gateway.example.com:4437","host":"streams.example.com"}
# Commands of the AWS CLI: set LOAD_BALANCER and TARGET_GROUP to the ARNs of yours. Readers use
# streams.example.com; the targets are gateways at port 4437 (HTTP, version HTTP1).

# By default a connection may be silent for 60 s, to readers and to gateways. This is longer than a
# long-poll, and than the heartbeat of SSE.
aws elbv2 modify-load-balancer-attributes \
    --load-balancer-arn "$LOAD_BALANCER" \
    --attributes \
    Key=idle_timeout.timeout_seconds,Value=65 \
    Key=client_keep_alive.seconds,Value=3600 \
    Key=routing.http.preserve_host_header.enabled,Value=true \
    Key=routing.http.xff_header_processing.mode,Value=append

# The gateways have to keep idle connections for longer than the load balancer does, or an append
# now and then gets 502. In their settings: keepalive_timeout = 75, or more.

# Readers who wait when a gateway leaves have this long to be answered: a whole long-poll.
aws elbv2 modify-target-group-attributes \
    --target-group-arn "$TARGET_GROUP" \
    --attributes \
    Key=deregistration_delay.timeout_seconds,Value=65
