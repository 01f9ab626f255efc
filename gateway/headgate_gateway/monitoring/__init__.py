"""Tools to watch a gateway with: alert rules for Prometheus, a board for Grafana."""
