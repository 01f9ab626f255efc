"""Names of a Headgate that the protocol does not have: a test compares them with the server's."""

from __future__ import annotations

# The header field with the key of a reader's URLs, and the parameter that has it there.
READER_KEY, READER_KEY_PARAMETER = "Stream-Reader-Key", "rk"
READER_COOKIE = "__Secure-headgate"  # may hold a token
DIGEST_HEADER = "Headgate-Config"  # of responses through a file of `headgate cdn render`
# In Cache-Status. It says what it did in X-Cache, too, which hops pass on.
HEADGATE = "headgate"
