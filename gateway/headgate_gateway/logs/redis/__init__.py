"""The log in Redis Streams, which several gateways share."""
