"""The fuzzer of requests, answers of origins and parsers."""
