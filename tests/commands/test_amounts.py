from __future__ import annotations

import pytest

from headgate_gateway.tools.shell.amounts import byte_size, counted


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0 streams"), (1, "1 stream"), (2, "2 streams"), (1500, "1,500 streams")],
)
def test_a_noun_is_in_the_plural_unless_its_number_is_one(number: int, shown: str) -> None:
    assert counted(number, "stream") == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0 B"),
        (1023, "1,023 B"),
        (1024, "1 KiB"),
        (99.9 * 1024, "99.9 KiB"),
        (1023 * 1024, "1,023 KiB"),
        (5 << 20, "5 MiB"),
        (2048 << 30, "2,048 GiB"),
    ],
)
def test_a_number_of_bytes_is_shown_in_its_largest_unit(number: float, shown: str) -> None:
    assert byte_size(number) == shown
