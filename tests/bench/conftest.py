"""Prints the table of measurements after the last benchmark."""

from __future__ import annotations

from typing import Any

from bench import table


def pytest_terminal_summary(terminalreporter: Any) -> None:
    found = table.text()
    if found:
        terminalreporter.write_line("")
        terminalreporter.write_line(found)
