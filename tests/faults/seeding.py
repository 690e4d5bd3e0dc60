"""Seeding a bug into a module of the product, for as long as a test lasts."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator
from pathlib import Path

import pytest


def seed(module: types.ModuleType, good: str, bad: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the one function or method in which `good` stands the code it would have with `bad`.

    The function itself stays: others hold it.
    """
    file = module.__file__ or ""
    source = Path(file).read_text()
    assert source.count(good) == 1, f"{module.__name__} has {good!r} {source.count(good)} times: renew the mutant"
    seeded = types.ModuleType(module.__name__)
    seeded.__dict__.update(vars(module))
    exec(compile(source.replace(good, bad), file, "exec"), vars(seeded))
    functions = dict(_functions(seeded))
    changed = [
        (function, functions[name])
        for name, function in _functions(module)
        if name in functions and _body(functions[name]) != _body(function)
    ]
    assert len(changed) == 1, "the bug is in one function"
    for function, other in changed:
        monkeypatch.setattr(function, "__code__", other.__code__)


def _functions(module: types.ModuleType) -> Iterator[tuple[str, types.FunctionType]]:
    for name, found in list(vars(module).items()):
        if inspect.isfunction(found) and found.__module__ == module.__name__:
            yield name, found
        elif inspect.isclass(found) and found.__module__ == module.__name__:
            for key, member in list(vars(found).items()):
                if inspect.isfunction(member):
                    yield f"{name}.{key}", member


def _body(function: types.FunctionType) -> tuple[object, ...]:
    return _code(function.__code__)


def _code(code: types.CodeType) -> tuple[object, ...]:
    # Without the line numbers: what stands below the bug moved, and is the same.
    inside = tuple(_code(one) if isinstance(one, types.CodeType) else one for one in code.co_consts)
    return code.co_code, code.co_names, inside
