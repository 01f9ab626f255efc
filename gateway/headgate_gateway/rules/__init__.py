"""Rules of caching without state: what may be cached, for how long and for whom."""
