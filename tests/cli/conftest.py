"""Fixtures of the command line's tests."""

from cli.command_kit import fleet as fleet
