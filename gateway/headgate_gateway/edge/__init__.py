"""Routes to HTTP origins: what they cache, the streams they follow, what they pass on."""
