"""`agentctl completion`: the script that a shell sources."""

from __future__ import annotations

from . import output
from .call import Call
from .verb import arg, verb

SHELLS = ("bash", "zsh", "fish")


@verb(
    "completion",
    summary="Print the completion script of a shell.",
    details="bash: add `source <(agentctl completion bash)` to ~/.bashrc. "
    "zsh: add `source <(agentctl completion zsh)` to ~/.zshrc, after compinit. "
    "fish: `agentctl completion fish > ~/.config/fish/completions/agentctl.fish`.",
    store=False,
    shell=arg("The shell.", "SHELL", choices=SHELLS),
)
def completion(call: Call, *, shell: str) -> int:
    from typer._completion_shared import get_completion_script

    from .typer_app import COMPLETION_VARIABLE

    output.write(get_completion_script(prog_name="agentctl", complete_var=COMPLETION_VARIABLE, shell=shell) + "\n")
    return 0
