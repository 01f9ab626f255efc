from __future__ import annotations

from typing import Annotated, Literal

import pytest

from gateway.settings.reading.tables import Table, ValueContext, checks, setting
from gateway.settings.reading.values import (
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

    @checks("price", "owner")
    @classmethod
    def _fits(cls, value: object, context: ValueContext) -> object:
        if context.values.get("kind") == "stool" and value in {9, "king"}:
            raise ValueError(f"must suit a stool, as {context.key} in {context.look}")
        return value

    def check_whole(self) -> None:
        if self.price == 0 and self.key:
            raise ValueError("must have no key while it costs nothing")


def mistakes(values: object) -> list[Mistake]:
    with pytest.raises(Mistaken) as refusal:
        Chair.of(values, "the shop")
    return list(refusal.value.mistakes)


def test_a_table_has_the_given_values_and_its_defaults() -> None:
    chair = Chair.of({"kind": "stool", "price": "seven", "legs": [{"name": "a", "length": 2}]})
    assert (chair.kind, chair.price, chair.owner, chair.marks) == ("stool", 7, None, {})
    assert chair.legs == (Leg(name="a", length=2.0),)
    assert chair.legs[0].name == "A"
    assert chair.explicit_keys == {"kind", "price", "legs"}


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
    ("key", "value"),
    [
        ("kind", "sofa"),
        ("kind", ["stool"]),
        ("price", 10),
        ("price", -1),
        ("price", 1.0),
        ("price", "1"),
        ("legs", "ab"),
        ("legs", [{"name": "a"}] * 3),
        ("key", b"x"),
        ("marks", []),
    ],
)
def test_a_value_of_the_wrong_type_or_out_of_range_is_a_mistake(key: str, value: object) -> None:
    assert [it.place for it in mistakes({"kind": "stool", key: value})] == [(key,)]


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


@pytest.mark.parametrize("bound", ["ge", "le"])
def test_a_setting_with_only_one_bound_is_refused(bound: str) -> None:
    with pytest.raises(AssertionError):
        setting(1, **{bound: 1})  # type: ignore[arg-type] # a number


def test_a_check_of_a_value_sees_the_values_declared_before() -> None:
    (found,) = mistakes({"kind": "stool", "price": 9})
    assert found.must == "must suit a stool, as price in the shop"
    assert Chair.of({"kind": "throne", "price": 9}).price == 9
    assert [it.place for it in mistakes({"kind": "sofa", "price": 9})] == [("kind",)]


def test_a_table_is_checked_as_a_whole_after_its_values() -> None:
    with pytest.raises(ValueError, match=r"^must have no key while it costs nothing$"):
        Chair.of({"kind": "stool", "price": 0, "key": "k"})


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
    assert chair.plain(without=("legs", "key", "marks")) == {
        "kind": "stool",
        "price": "1 €",
        "owner": "ann",
    }


def test_a_table_is_immutable_and_hashable() -> None:
    leg = Leg(name="a")
    with pytest.raises(AttributeError):
        leg.name = "b"
    other = leg.but(name="b")
    assert (leg.name, other.name, other.explicit_keys) == ("A", "b", frozenset({"name"}))
    assert len({leg, Leg(name="A"), other}) == 2
