"""Modules imported, and parts of an object made, when they are first used, at no cost after that.

`from .room import verb` inside a function costs a microsecond each time, a twentieth of a verb; at the top of the
module it costs every command the start-up of rooms it never enters. A name made by `later` stands for the module until
an attribute of it is asked for; then the module takes the name's place in its owner's globals.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Later:
    __slots__ = ("_globals", "_name", "_package")

    def __init__(self, package: str, name: str, globals: dict[str, Any]) -> None:
        self._package, self._name, self._globals = package, name, globals

    def __getattr__(self, attribute: str) -> Any:
        module = __import__(f"{self._package}.{self._name}", fromlist=("",))
        self._globals[self._name] = module
        return getattr(module, attribute)


def later(globals: dict[str, Any], package: str, *names: str) -> None:
    """Bind `names` in `globals` to the modules of `package` of the same names, to be imported at first use."""
    for name in names:
        globals[name] = _Later(package, name, globals)


class Part:
    """A part of an object, as an attribute of its class: `kind` of `module`, made at first use.

    It is made of those attributes of the object that `given` names, so that it need not know whose part it is; and a
    command pays for the verbs of messages only when it sends one.
    """

    __slots__ = ("_given", "_kind", "_module", "_name")

    def __init__(self, module: str, kind: str, *given: str) -> None:
        self._module, self._kind, self._given, self._name = module, kind, given, ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, whole: Any, owner: type) -> Any:
        if whole is None:
            return self
        kind = getattr(__import__(self._module, fromlist=("",)), self._kind)
        part = kind(*[getattr(whole, name) for name in self._given])
        whole.__dict__[self._name] = part  # found there from now on, without asking here
        return part
