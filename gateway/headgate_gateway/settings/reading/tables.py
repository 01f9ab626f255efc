"""Tables of settings: classes that declare keys, and check values for them.

The annotations of a class declare its keys. A value is read in this order: the `Converter`
annotations of its type, the type itself, the bounds of its `setting`, the `Validator` annotations,
then the `checks` of the class, which see the values before it. Types are exact: a text is no
number. All mistakes are reported, not only the first.

docs/decisions/settings.md says why this is no library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping  # noqa: TC003 - read as type hints
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    NamedTuple,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

from typing_extensions import override

from headgate_gateway.settings.reading.values import (
    REQUIRED,
    Mistake,
    Mistaken,
    Read,
    Secret,
    Serializer,
    bare_type,
    noting,
    of_other_type,
    reader,
)

if TYPE_CHECKING:
    from typing import Self

M = TypeVar("M")


class ValueContext(NamedTuple):
    """The context of a value: its key, the valid values before it, what may be looked at."""

    key: str
    values: Mapping[str, Any]
    look: object


class Setting:
    """A declared key: its type with annotations, its default, bounds and description.

    `reload` says what a reload of the settings does with it; "" in tables within another setting.
    """

    def __init__(
        self,
        default: object,
        description: str,
        bounds: tuple[float, float] | None,
        longest: int,
        reload: str,
    ) -> None:
        self.default = default
        self.description = description
        self.reload = reload
        self.bounds = bounds
        self.longest = longest
        self.type: object = None
        self.metadata: tuple[object, ...] = ()
        self.read: Read = lambda value, _look: value

    @property
    def is_required(self) -> bool:
        """True when the setting has no default."""
        return self.default is REQUIRED

    @property
    def table(self) -> type[Table] | None:
        """The class of the items of an array of tables; None for a setting of another type."""
        item = next(iter(get_args(self.type)), None)
        return item if isinstance(item, type) and issubclass(item, Table) else None

    @property
    def section(self) -> type[Table] | None:
        """The class of a section, which is a table by itself; None for any other setting."""
        return self.type if isinstance(self.type, type) and issubclass(self.type, Table) else None

    def plain(self, value: object, *, secrets: bool = False, explicit_only: bool = False) -> object:
        """Return the value as it is written in JSON."""
        serialize = next((it.serialize for it in self.metadata if isinstance(it, Serializer)), None)
        written = value if serialize is None else serialize(value)
        return _plain(written, secrets=secrets, explicit_only=explicit_only)

    def declare(self, hint: object) -> None:
        """Set the type and its annotations from the class's type hint."""
        self.type, self.metadata = bare_type(hint)
        self.read = reader(hint, self._check_bounds)

    def is_within(self, value: Any) -> bool:  # noqa: ANN401 - of the setting's own type
        """Return whether a value is within the bounds, if there are any."""
        return self.bounds is None or self.bounds[0] <= value <= self.bounds[1]

    def _check_bounds(self, value: Any) -> None:  # noqa: ANN401 - of the setting's own type
        if not self.is_within(value) or (self.longest and len(value) > self.longest):
            raise of_other_type(value)


def setting(
    default: Any = REQUIRED,  # noqa: ANN401 - of the annotated type
    *,
    description: str = "",
    ge: float | None = None,
    le: float | None = None,
    longest: int = 0,
    reload: str = "",
) -> Any:  # noqa: ANN401 - stands where the annotated type is wanted
    """Declare a key; `ge` and `le` are given together, `longest` bounds the items of a list.

    `reload` says what a reload does with it, in words for the documentation.
    """
    assert (ge is None) == (le is None), "one bound alone would not count"
    bounds = None if ge is None or le is None else (ge, le)
    return Setting(default, description, bounds, longest, reload)


def section(description: str) -> Any:  # noqa: ANN401 - stands where the annotated type is wanted
    """Declare a key whose type is a Table: a section, whose settings have defaults of their own."""
    return setting({}, description=description)


def checks(*keys: str) -> Callable[[M], M]:
    """Mark a class method that checks the values of these keys, and returns them."""

    def mark(method: M) -> M:
        method.__func__.checked_keys = keys  # type: ignore[attr-defined] # it is a class method
        return method

    return mark


class Table:
    """A set of valid values, made from keywords, or by `of` from the contents of a file."""

    settings: ClassVar[Mapping[str, Setting]] = {}
    checks_defaults: ClassVar[bool] = False  # True to apply the checks to defaults, too
    short: ClassVar[str] = ""  # the key that a value stands for which is given in place of a table
    _checks: ClassVar[Mapping[str, list[Callable[[type, Any, ValueContext], object]]]] = {}
    explicit_keys: frozenset[str]  # the keys that were given

    @override
    def __init_subclass__(cls) -> None:
        settings = dict(cls.settings)
        hints = get_type_hints(cls, include_extras=True)
        for key in [key for key in vars(cls).get("__annotations__", ()) if _is_key(key, hints)]:
            default = vars(cls).get(key, REQUIRED)
            one = default if isinstance(default, Setting) else setting(default)
            one.declare(hints[key])
            settings[key] = one
            if key in vars(cls):
                delattr(cls, key)
        cls.settings = settings
        found = {key: [*methods] for key, methods in cls._checks.items()}
        for method in vars(cls).values():
            function = getattr(method, "__func__", None)
            for key in getattr(function, "checked_keys", ()):
                found.setdefault(key, []).append(function)  # type: ignore[arg-type] # is not None
        cls._checks = found

    def __init__(self, **values: object) -> None:
        self._take(values, None)

    @classmethod
    def of(cls, values: object, look: object = None) -> Self:
        """Return the table with these values. Raises Mistaken. `look` is passed to its checks."""
        if isinstance(values, cls):
            return values
        if not isinstance(values, dict):
            if not cls.short:
                raise Mistaken([Mistake((), "type", values)])
            values = {cls.short: values}
        table = cls.__new__(cls)
        table._take(values, look)
        return table

    def _take(self, inputs: Mapping[str, object], look: object) -> None:
        cls, values, mistakes = type(self), vars(self), list[Mistake]()
        for key, one in cls.settings.items():
            if key not in inputs and one.is_required:
                mistakes.append(Mistake((key,), "missing", REQUIRED))
            elif key not in inputs and not cls.checks_defaults:
                values[key] = one.default
            else:
                value = inputs.get(key, one.default)
                with noting(mistakes, key, value):
                    values[key] = self._read(key, value, look)
        unknown = [key for key in inputs if key not in cls.settings]
        mistakes += [Mistake((key,), "unknown", inputs[key]) for key in unknown]
        if mistakes:
            raise Mistaken(mistakes)
        values["explicit_keys"] = frozenset(inputs)
        self.check_whole()

    def _read(self, key: str, value: object, look: object) -> object:
        read: object = self.settings[key].read(value, look)
        for check in self._checks.get(key, ()):
            read = check(type(self), read, ValueContext(key, vars(self), look))
        return read

    def check_whole(self) -> None:
        """Raise ValueError if values that are valid by themselves do not fit together."""

    def but(self, **values: object) -> Self:
        """Return a copy with other values, which are not checked; a dict changes a section."""
        for key, value in values.items():
            if self.settings[key].section and isinstance(value, dict):
                values[key] = getattr(self, key).but(**value)
        table = type(self).__new__(type(self))
        vars(table).update(vars(self) | values, explicit_keys=self.explicit_keys | values.keys())
        return table

    def plain(self, *, secrets: bool = False, explicit_only: bool = False) -> dict[str, object]:
        """Return the values for JSON; `explicit_only` leaves defaults out, also of inner tables."""
        keys = self.explicit_keys if explicit_only else self.settings.keys()
        return {
            key: one.plain(getattr(self, key), secrets=secrets, explicit_only=explicit_only)
            for key, one in self.settings.items()
            if key in keys
        }

    @override
    def __setattr__(self, key: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    @override
    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._values() == other._values()

    @override
    def __hash__(self) -> int:
        return hash(self._values())

    @override
    def __repr__(self) -> str:
        values = (f"{key}={getattr(self, key)!r}" for key in self.settings)
        return f"{type(self).__name__}({', '.join(values)})"

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, key) for key in self.settings)


class Section(Table):
    """A table of settings that all have defaults, which are checked like given values."""

    checks_defaults = True


def _is_key(key: str, hints: Mapping[str, object]) -> bool:
    return not key.startswith("_") and get_origin(hints[key]) is not ClassVar


def _plain(value: object, *, secrets: bool, explicit_only: bool) -> object:
    if isinstance(value, Table):
        return value.plain(secrets=secrets, explicit_only=explicit_only)
    if isinstance(value, tuple):
        return [_plain(one, secrets=secrets, explicit_only=explicit_only) for one in value]
    if isinstance(value, Secret):
        return value.reveal() if secrets else str(value)
    return value
