from __future__ import annotations

from typing import Annotated, Literal

import pytest

from headgate_gateway.settings.reading.tables import Table, setting
from headgate_gateway.settings.reading.values import (
    Converter,
    Mistake,
    Mistaken,
    Secret,
    Serializer,
    Validator,
)


def _shout(word: str) -> str:
    if word == "hush":
        raise ValueError("must be loud")
    return word.upper()


Price = Annotated[
    int, Converter(lambda it: 7 if it == "seven" else it), Serializer(lambda it: f"{it} €")
]


class Leg(Table):
    name: Annotated[str, Validator(_shout)]
    length: float = setting(1.0, ge=0.5, le=2)


class Chair(Table):
    kind: Literal["stool", "throne"] = setting(description="What it is.")
    legs: tuple[Leg, ...] = setting((), longest=2)
    price: Price = setting(1, ge=0, le=9)
    owner: str | None = None
    key: Secret = setting(Secret(""))
    marks: dict[Annotated[str, Validator(_shout)], int] = setting({})


def mistakes(values: object) -> list[Mistake]:
    with pytest.raises(Mistaken) as refusal:
        Chair.of(values, "the shop")
    return list(refusal.value.mistakes)


def test_mistakes_in_a_table_are_reported_in_the_order_of_its_declaration() -> None:
    found = mistakes(
        {
            "colour": 1,
            "legs": [{"name": "hush", "length": 3}, {"nome": "b"}, 5],
            "price": True,
            "owner": 4,
            "marks": {"hush": 1, "x": "1"},
        }
    )
    assert found == [
        Mistake(("kind",), "missing", found[0].value),
        Mistake(("legs", 0, "name"), "refused", "hush", "must be loud"),
        Mistake(("legs", 0, "length"), "type", 3.0),
        Mistake(("legs", 1, "name"), "missing", found[3].value),
        Mistake(("legs", 1, "nome"), "unknown", "b"),
        Mistake(("legs", 2), "type", 5),
        Mistake(("price",), "type", True),
        Mistake(("owner",), "type", 4),
        Mistake(("marks", "hush"), "refused", 1, "must be loud"),
        Mistake(("marks", "x"), "type", "1"),
        Mistake(("colour",), "unknown", 1),
    ]


@pytest.mark.parametrize(
    "length",
    [True, "1", 0.49, 2.01, float("nan"), float("inf"), pytest.param(10**400, id="beyond-a-float")],
)
def test_a_number_that_is_infinite_or_text_is_a_mistake(length: object) -> None:
    assert [
        it.place for it in mistakes({"kind": "stool", "legs": [{"name": "a", "length": length}]})
    ]
    with pytest.raises(Mistaken):
        Leg(name="a", length=length)


def test_a_secret_is_shown_only_when_asked_for() -> None:
    chair = Chair(kind="stool", key="s3cret")
    assert "s3cret" not in f"{chair} {chair!r} {chair.plain()}"
    assert chair.plain(secrets=True)["key"] == chair.key.reveal() == "s3cret"
    with pytest.raises(Mistaken) as refusal:
        Chair(kind="stool", key="s3cret", legs="s3cret")
    assert "s3cret" not in str(refusal.value)


def test_a_table_written_as_plain_values_is_read_back_equal() -> None:
    chair = Chair(kind="stool", legs=[{"name": "a"}], owner="ann")
    assert chair.plain(explicit_only=True) == {
        "kind": "stool",
        "legs": [{"name": "A"}],
        "owner": "ann",
    }
    assert Chair.of(chair.plain(explicit_only=True)) == chair
    assert chair.plain()["price"] == "1 €"


def test_a_table_is_immutable_and_hashable() -> None:
    leg = Leg(name="a")
    with pytest.raises(AttributeError):
        leg.name = "b"
    other = leg.but(name="b")
    assert (leg.name, other.name, other.explicit_keys) == ("A", "b", frozenset({"name"}))
    assert len({leg, Leg(name="A"), other}) == 2
