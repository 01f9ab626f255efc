"""A conversation with a server: each kind of request, and the response that the protocol has to it.

A hop that is in the way changes at least one of these responses. The order of the lines matters: a
line uses what earlier ones have kept, such as `{tail}`, the offset after the first append.
`checks.judging` compares the responses with it.
"""
