"""Run one agent process, keep its output and record its end. Started as `python -I -S shim.py TAG`.

The shim outlives the supervisor: whatever happens to that, the agent keeps running, its output
goes on being read into the session directory, and its exit is on disk before the shim ends. It
waits for one JSON line on stdin (so it can be started ahead) and leaves quietly on end of file.

This file only finds its siblings, because a script is compiled again at every start while an
imported module is not; `-I` leaves the script's own folder out of `sys.path`.
"""

import sys

sys.path.append(__file__.rpartition("/")[0])

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agentctl.supervisor import shim_main
else:
    import shim_main

if __name__ == "__main__":
    shim_main.main()
