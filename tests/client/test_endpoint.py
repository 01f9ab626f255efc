"""URLs that requests can be sent to, and what is made of the answers."""

from __future__ import annotations

import pytest
from headgate.endpoint import Endpoint


@pytest.mark.parametrize(
    "url", ["user:s3cret@host/x", "//user:s3cret@host/x", "ftp://user:s3cret@host/x", "s3cret"]
)
def test_a_url_that_is_none_is_not_printed(url: str) -> None:
    with pytest.raises(ValueError, match="a stream has a URL such as") as raised:
        Endpoint(url)
    assert "s3cret" not in str(raised.value)
