"""On Windows there is one plain sentence, not a traceback about fcntl."""

import subprocess
import sys


def test_windows_is_refused_in_one_sentence() -> None:
    code = "import sys; sys.platform = 'win32'; sys.argv = ['agentctl', 'ps']; from agentctl.main import main; main()"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 1 and not ran.stdout
    assert ran.stderr.count("\n") == 1 and "Windows is not supported" in ran.stderr and "WSL" in ran.stderr
