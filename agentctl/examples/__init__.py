"""Fleets to start from, as files of the user's own, and the demo that runs one of them."""
