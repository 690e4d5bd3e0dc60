"""Frozen records without the start-up cost of ``dataclasses``.

``import dataclasses`` loads ``inspect``, ``ast`` and ``dis``: 14 ms measured, more than a whole
``agentctl task add``. ``@record`` gives the same things the domain needs (slots, frozen fields, defaults,
``==``, ``repr``, hashing) from the class's annotations alone; type checkers see an ordinary frozen dataclass.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, TypeVar, dataclass_transform

    T = TypeVar("T")

    @dataclass_transform(frozen_default=True, kw_only_default=False)
    def record(cls: type[T]) -> type[T]: ...

else:
    _FILLED_BY_LOOP = 3

    def record(cls):
        """Return `cls` remade as a frozen, slotted value type with one field per annotation, in order."""
        inherited = getattr(cls, "__fields__", ())
        fields = inherited + tuple(name for name in cls.__annotations__ if name not in inherited)
        defaults = dict(getattr(cls, "__field_defaults__", {}))
        body = {k: v for k, v in cls.__dict__.items() if k not in ("__dict__", "__weakref__")}
        for name in fields:
            if name in body:
                defaults[name] = body.pop(name)
        body["__slots__"] = tuple(name for name in fields if name not in inherited)
        body["__fields__"] = body["__match_args__"] = fields
        body["__field_defaults__"] = defaults
        body["__init__"] = _first_init
        for method in (__setattr__, __delattr__, __eq__, __hash__, __repr__, __reduce__):
            body.setdefault(method.__name__, method)
            if method.__name__ in ("__eq__", "__hash__") and method.__name__ not in cls.__dict__:
                body[method.__name__] = method
        return type(cls.__name__, cls.__bases__, body)

    def _first_init(self, *args, **kwargs):
        # Compiling costs 60 to 250 µs a class, and a short process makes one or two values of a few classes:
        # the first ones are filled by this loop, and whoever goes on making them gets a compiled constructor.
        kind = type(self)
        made = kind.__dict__.get("__made__", 0)
        filled = _fill(self, kind, args, kwargs)
        if made == _FILLED_BY_LOOP or not filled:
            _compile_init(kind)
        if not filled:
            kind(*args, **kwargs)  # words the refusal
        kind.__made__ = made + 1

    def _fill(self, kind, args, kwargs):
        # False for whatever the compiled constructor has to refuse in its own words.
        fields = kind.__fields__
        if len(args) > len(fields):
            return False
        values = {**kind.__field_defaults__, **kwargs}
        for name, value in zip(fields, args):  # noqa: B905 - the rest has names or defaults
            if name in kwargs:
                return False
            values[name] = value
        if len(values) != len(fields):
            return False
        for name in fields:
            if name not in values:
                return False
            object.__setattr__(self, name, values[name])
        return True

    def _compile_init(kind):
        # The fields are filled while the value is of a class that is still open, a plain store each; then it becomes
        # what it is. object.__setattr__ takes four times as long, and a claim makes records of fifty fields.
        fields, defaults = kind.__fields__, kind.__field_defaults__
        arguments = ", ".join(f"{name}=_d[{name!r}]" if name in defaults else name for name in fields)
        fill = "\n".join(f" self.{name} = {name}" for name in fields)
        unsealed = type(kind.__name__, kind.__bases__, {"__slots__": kind.__slots__, "__setattr__": object.__setattr__})
        scope = {"_new": object.__new__, "_open": unsealed, "_d": defaults}
        exec(
            f"def __new__(cls{', ' if fields else ''}{arguments}):\n self = _new(_open)\n{fill}\n"
            " self.__class__ = cls\n return self",
            scope,
        )
        kind.__new__ = staticmethod(scope["__new__"])
        kind.__init__ = object.__init__

    def __setattr__(self, name, value):
        raise AttributeError(f"{type(self).__name__}.{name} is frozen")

    def __delattr__(self, name):
        raise AttributeError(f"{type(self).__name__}.{name} is frozen")

    def __eq__(self, other):
        if type(self) is not type(other):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__fields__)

    def __hash__(self):
        return hash((type(self), *(getattr(self, name) for name in self.__fields__)))

    def __repr__(self):
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__fields__)
        return f"{type(self).__name__}({shown})"

    def __reduce__(self):
        return type(self), tuple(getattr(self, name) for name in self.__fields__)


def replace(value: T, **changes: Any) -> T:
    """Return a copy of the record `value` with the named fields changed. TypeError for an unknown field."""
    return type(value)(**{**as_dict(value), **changes})


def as_dict(value: object) -> dict[str, Any]:
    """Return the record's fields by name, one level deep, in their declared order."""
    return {name: getattr(value, name) for name in fields_of(type(value))}


def fields_of(kind: type) -> tuple[str, ...]:
    """Return the names of a record type's fields, in order."""
    return kind.__fields__  # type: ignore[attr-defined, no-any-return]


def from_mapping(kind: type[T], values: Mapping[str, Any]) -> T:
    """Build a record of `kind` from the entries of `values` that are fields of it."""
    return kind(**{name: values[name] for name in fields_of(kind) if name in values})
