"""The protocol's header names that many modules read; the others stand where they are parsed."""

NEXT_OFFSET = "Stream-Next-Offset"
UP_TO_DATE = "Stream-Up-To-Date"
CLOSED = "Stream-Closed"
CURSOR = "Stream-Cursor"
READER_KEY = "Stream-Reader-Key"
FORKED_FROM = "Stream-Forked-From"
MULTI = "X-Stream-Multi"
# Of a DELETE: the id of the stream that is meant, by the console's list, whatever is at its path.
STREAM_ID = "Headgate-Stream-Id"
PROVIDER_KEYS = ("Api-Key", "X-Api-Key")  # a key of a provider that is no bearer token
TOKEN_FIELD = "Headgate-Token"  # a token of this server, beside the key of a provider
STREAM_FIELD = "Headgate-Stream"  # the name that a caller gives the stream of an answer
KEY_PREFIX_FIELD = "Headgate-Key-Prefix"  # which makes a key of each request of an agent
IDEMPOTENCY_KEY = "Idempotency-Key"  # the key that a caller gives an answer
