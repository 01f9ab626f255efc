"""The commands of `headgate`: for streams, settings and tokens, and to examine deployments."""
