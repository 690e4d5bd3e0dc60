"""Pure policies: what to do, never doing it. Nothing here reads a clock, a file or dice."""
