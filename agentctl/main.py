"""The console entry point."""


def main() -> None:
    import sys

    sys.exit(0)
