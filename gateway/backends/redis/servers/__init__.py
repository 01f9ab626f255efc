"""The Redis servers: connections, pipelines, failovers and notifications."""
