"""`python -m agentctl` is the same as `agentctl`."""

from .main import main

main()
