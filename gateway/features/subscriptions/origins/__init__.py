"""Subscriptions to the streams of an HTTP origin, which this gateway delivers itself."""
