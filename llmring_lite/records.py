"""`dataclass` for the values that every program makes, at a tenth of the start-up time.

The standard library's `dataclasses` loads `inspect` (together 9 ms; `requests` takes
80) and compiles half a dozen methods for each class (0.4 to 0.7 ms). What is here takes
the same declarations and compiles one. Type checkers are shown the original.

Whatever works on dataclasses works on these classes too: `dataclasses.fields`,
`replace`, `asdict`, `is_dataclass`, a dataclass that inherits from one. The facts that
these look for are made by `dataclasses` itself, when somebody looks.

Left out, for nothing in this package needs it: `slots`, `order`, `InitVar`, `ClassVar`,
and fields inherited from another class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn

_MISSING: Final = object()


class _Field:
    __slots__ = ("compare", "default", "default_factory", "repr")

    def __init__(self, default: Any, factory: Any, compare: bool, repr: bool) -> None:
        self.default = default
        self.default_factory = factory
        self.compare = compare
        self.repr = repr

    def given(self) -> dict[str, Any]:
        """The arguments it was made with."""
        everything = {name: getattr(self, name) for name in self.__slots__}
        return {n: value for n, value in everything.items() if value is not _MISSING}


def _field(
    *,
    default: Any = _MISSING,
    default_factory: Any = _MISSING,
    compare: bool = True,
    repr: bool = True,
) -> Any:
    """As `dataclasses.field`."""
    return _Field(default, default_factory, compare, repr)


def _dataclass(
    cls: Any = None, /, *, frozen: bool = False, kw_only: bool = False
) -> Any:
    """As `dataclasses.dataclass`."""

    def make(cls: Any) -> Any:
        fields = _take_fields(cls)
        cls.__init__ = _make_init(cls, fields, frozen, kw_only)
        cls.__match_args__ = () if kw_only else tuple(fields)  # type: ignore[misc]
        cls._shown = tuple(name for name in fields if fields[name].repr)
        cls._compared = tuple(name for name in fields if fields[name].compare)
        cls.__repr__ = _repr
        cls.__eq__ = _eq
        cls.__replace__ = _replace
        cls.__hash__ = _hash if frozen else None
        if frozen:
            cls.__setattr__ = cls.__delattr__ = _refuse
        cls.__dataclass_fields__ = _Facts(cls, fields, frozen, kw_only)
        return cls

    return make if cls is None else make(cls)


def _replace(value: Any, /, **changes: Any) -> Any:
    """As `dataclasses.replace`, for any dataclass."""
    cls = type(value)
    facts = cls.__dict__.get("__dataclass_fields__")
    if isinstance(facts, _Facts):
        return cls(**{name: getattr(value, name) for name in facts.fields} | changes)
    import dataclasses  # a class made with it, or one that was looked at

    return dataclasses.replace(value, **changes)


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
    from dataclasses import replace as replace
else:
    dataclass, field, replace = _dataclass, _field, _replace


def _take_fields(cls: Any) -> dict[str, _Field]:
    """The fields that a class declares; their defaults stay as class attributes."""
    fields: dict[str, _Field] = {}
    for name in cls.__annotations__:
        given = cls.__dict__.get(name, _MISSING)
        if not isinstance(given, _Field):
            given = _Field(given, _MISSING, True, True)
        elif given.default is _MISSING:
            delattr(cls, name)
        else:
            setattr(cls, name, given.default)
        fields[name] = given
    return fields


def _make_init(cls: Any, fields: dict[str, _Field], frozen: bool, kw_only: bool) -> Any:
    """`__init__`, compiled: a stream makes thousands of chunks."""
    body: list[str] = []
    scope: dict[str, Any] = {"_MISSING": _MISSING}
    defaults: dict[str, Any] = {}
    for name, field in fields.items():
        if field.default_factory is not _MISSING:
            scope[f"_make_{name}"] = field.default_factory
            body.append(f"if {name} is _MISSING: {name} = _make_{name}()")
            defaults[name] = _MISSING
        elif field.default is not _MISSING:
            defaults[name] = field.default
        elif defaults and not kw_only:
            raise TypeError(f"{name} has no default but follows a field that has one")
    if frozen:
        # Attributes of a frozen instance can't be set, not even here.
        values = ", ".join(f"{name}={name}" for name in fields)
        body.append(f"self.__dict__.update({values})")
    else:
        body += [f"self.{name} = {name}" for name in fields]
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    parameters = ["self", *(["*"] if kw_only else []), *fields]
    lines = [f"def __init__({', '.join(parameters)}):", *body]
    exec("\n ".join(lines), scope)
    init = scope["__init__"]
    # Not in the text: it takes half the time to compile without them.
    if kw_only:
        init.__kwdefaults__ = defaults
    else:
        init.__defaults__ = tuple(defaults.values())
    init.__module__ = cls.__module__
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__annotations__ = {**cls.__annotations__, "return": None}
    return init


# Methods of every class -----------------------------------------------------------


def _repr(self: Any) -> str:
    texts = (f"{name}={getattr(self, name)!r}" for name in self._shown)
    return f"{type(self).__qualname__}({', '.join(texts)})"


def _eq(self: Any, other: Any) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    return all(getattr(self, name) == getattr(other, name) for name in self._compared)


def _hash(self: Any) -> int:
    return hash(tuple(getattr(self, name) for name in self._compared))


def _refuse(self: Any, name: str, value: Any = None) -> NoReturn:
    from dataclasses import FrozenInstanceError  # only a mistake gets here

    raise FrozenInstanceError(f"{type(self).__name__}.{name} can't be changed")


class _Facts:
    """`__dataclass_fields__` of a class, until somebody looks."""

    def __init__(
        self, cls: Any, fields: dict[str, _Field], frozen: bool, kw_only: bool
    ) -> None:
        self.fields = fields
        self._cls = cls
        self._options = {"frozen": frozen, "kw_only": kw_only}

    def __get__(self, instance: object, owner: type) -> Any:
        import dataclasses

        cls = self._cls
        namespace: dict[str, Any] = {
            "__module__": cls.__module__,
            "__doc__": cls.__doc__,
            "__annotations__": cls.__annotations__,
        }
        for name, field in self.fields.items():
            namespace[name] = dataclasses.field(**field.given())
        twin: Any = type(cls.__name__, (), namespace)
        twin = dataclasses.dataclass(**self._options)(twin)
        cls.__dataclass_params__ = twin.__dataclass_params__
        cls.__dataclass_fields__ = twin.__dataclass_fields__
        return twin.__dataclass_fields__
