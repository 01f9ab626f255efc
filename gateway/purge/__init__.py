"""Caches in front are told to forget the streams that are no more."""
