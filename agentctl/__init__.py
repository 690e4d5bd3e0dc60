"""Run a team of AI agents on your own machine overnight and be fine in the morning."""

__version__ = "0.1.0"
