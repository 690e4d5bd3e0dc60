"""What every screen reaches of the dashboard: what is known, how it looks, and what a person may ask for."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from functools import partial
from time import time
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import App
from textual.binding import BindingType
from textual.timer import Timer

from agentctl_store.errors import BadJson
from agentctl_store.read.models import Filter, FleetSummary, InstanceRow
from agentctl_tui import acts, units
from agentctl_tui.acts import Act, Done, Pending
from agentctl_tui.asks import Find, LetterIds, Summary
from agentctl_tui.bindings import APP
from agentctl_tui.cells import EMPTY, Line, clean, raw
from agentctl_tui.feed import BEAT_S, Feed
from agentctl_tui.glyphs import ASCII, UNICODE
from agentctl_tui.look import Look
from agentctl_tui.messages import Back, Fresh, Lost
from agentctl_tui.ports import Logs, Operator
from agentctl_tui.screens.confirm import Confirm
from agentctl_tui.screens.listening import Listening
from agentctl_tui.still import Still
from agentctl_tui.themes import COLORS, theme

if TYPE_CHECKING:
    from agentctl_store.read.port import Reader

SWITCH_S = 0.01


def _wall_ms() -> int:
    return int(time() * 1000)


class Dash(App[None]):
    """The app below its screens: it knows that they listen, not which there are."""

    BINDINGS: ClassVar[list[BindingType]] = APP
    NOTIFICATION_TIMEOUT = 6

    def __init__(
        self,
        reader: Reader,
        operator: Operator,
        logs: Logs | None = None,
        *,
        now_ms: Callable[[], int] = _wall_ms,
        theme_name: str = "dark",
        ascii_only: bool = False,
        usage: bool = False,
        beat_s: float = BEAT_S,
        after: Callable[[], object] | None = None,
    ) -> None:
        super().__init__()
        self.look = Look(now_ms, ASCII if ascii_only else UNICODE, theme_name)
        self.still = Still(self)
        self.operator = operator
        self.usage = usage
        self.feed = Feed(reader, logs, self.post_message, now_ms, beat_s, after)
        self.summary: FleetSummary | None = None
        self.worst: Sequence[InstanceRow] = ()
        self.lost: tuple[str, int] | None = None
        self.drafts: dict[str, str] = {}
        self.pending: Pending | None = None
        self._pending_timer: Timer | None = None
        for name in COLORS:
            self.register_theme(theme(name))
        self.theme = f"agentctl-{theme_name}"
        self.set_class(ascii_only, "-ascii")

    # --- life

    def on_load(self) -> None:
        self.feed.ask("summary", Summary())
        self.feed.start()  # before the first screen is mounted, whose questions are then answered in the meantime

    def on_mount(self) -> None:
        self.theme_changed_signal.subscribe(self, self._dressed)
        self.set_interval(1.0, self._tick)

    def on_ready(self) -> None:
        # What is there now stays: no later collection needs to look at it.
        gc.freeze()
        gc.enable()

    def on_unmount(self) -> None:
        self.feed.stop()

    def _boards(self) -> list[Listening]:
        if not self.is_running:  # on the way out: screens lose their widgets before the feed ends
            return []
        return [screen for screen in self.screen_stack if isinstance(screen, Listening) and screen.ready]

    def _tick(self) -> None:
        if not self.is_headless and not sys.__stdin__.isatty():  # type: ignore[union-attr]
            self.exit()  # nobody can see it any more, and Textual would read the end of its input for ever
            return
        for board in self._boards()[-1:]:
            board.tick()
            board.frame()

    def _dressed(self, _: object) -> None:
        name = self.theme.removeprefix("agentctl-")
        if name in COLORS:
            self.look.dress(name, self.lost is not None)
            self._redraw()

    def _redraw(self) -> None:
        for screen in self.screen_stack:
            if hasattr(screen, "look_changed"):
                screen.look_changed()

    # --- feed

    def on_fresh(self, message: Fresh) -> None:
        if message.name == "summary":
            self.summary, self.worst = message.value  # type: ignore[misc]
        elif message.name == "find":
            self.feed.drop("find")
            self._found(message.value)  # type: ignore[arg-type]
        elif message.name == "ids":
            self.feed.drop("ids")
            for board in self._boards():
                board.mark(set(message.value))  # type: ignore[call-overload]
        else:
            for board in self._boards()[-1:]:
                board.fresh(message.name, message.value)
            return
        for board in self._boards()[-1:]:
            board.frame()

    def on_lost(self, message: Lost) -> None:
        self.lost = (message.reason, message.since_ms)
        self.look.dress(self.look.name, True)
        self._redraw()

    def on_back(self, _: Back) -> None:
        self.lost = None
        self.look.dress(self.look.name, False)
        self._redraw()

    # --- getting around

    def action_show(self, name: str) -> None:
        """Show a screen of the tab row."""
        if self.current_mode != name:
            self.switch_mode(name)

    def delay_update(self, delay: float = SWITCH_S) -> None:
        """Hold the screen still while another one is put up: Textual would for 50 ms, but answers are there sooner."""
        super().delay_update(delay)

    def action_theme(self) -> None:
        """Take the next theme."""
        names = list(COLORS)
        self.theme = f"agentctl-{names[(names.index(self.look.name) + 1) % len(names)]}"

    def jump(self, text: str) -> None:
        """Go to an instance or a dead letter by what a person remembers of its id."""
        self.feed.drop("find")
        self.feed.ask("find", Find(text))

    def _found(self, found: tuple[str, str, str]) -> None:
        kind, text, where = found
        if not kind:
            self.toast(f"Nothing here is called {text!r}.", "warning")
            return
        self.call_later(self._go, kind, where)

    async def _go(self, kind: str, where: str) -> None:
        if self.current_mode != kind:
            await self.switch_mode(kind)
        board = self.screen
        if isinstance(board, Listening):
            board.unfilter()
            board.select(where)

    def toast(self, text: str, severity: str = "information", command: str = "") -> None:
        """Tell what happened, with the command line that does the same."""
        shown = clean(text) + (f"\n$ {clean(command)}" if command else "")
        self.notify(shown, severity=severity, markup=False)  # type: ignore[arg-type]

    # --- acts

    def _do(self, wanted: Sequence[Act]) -> None:
        self.run_worker(partial(self._perform, list(wanted)), thread=True, group="acts")

    def _perform(self, wanted: list[Act]) -> None:
        for act in wanted:
            self.call_from_thread(self._done, acts.perform(act))

    def _done(self, done: Done) -> None:
        act, receipt = done.act, done.receipt
        if receipt is None:
            self.toast(f"Not done: {done.error}", "error", act.command)
            return
        for task in act.tasks:
            self.drafts.pop(task, None)
        for board in self._boards():
            board.forget_marks(act.tasks)
        self.toast(" ".join(part for part in (act.told, receipt.note) if part), command=act.command)

    def agent_act(self, verb: str, agent: str, *, confirm: bool) -> None:
        """Do `verb` to an agent, asking first when it ends processes."""
        act = acts.on_agent(self.operator, verb, agent)
        if not confirm:
            self._do([act])
            return
        detail = "All its instances; tasks they hold go back to their queue."
        self._ask(f"{verb.capitalize()} {agent}?", detail, verb, [act])

    def _ask(self, question: str, detail: str, yes: str, wanted: Sequence[Act]) -> None:
        self.push_screen(Confirm(question, detail, yes), lambda ok: self._do(wanted) if ok else None)

    def draft(self, task: str, text: str | None) -> None:
        """Keep, or forget, what was typed into a payload."""
        if text is None:
            self.drafts.pop(task, None)
        else:
            self.drafts[task] = text

    def rescue(self, task: str) -> None:
        """Put the draft of a task that is no longer a dead letter where it can be pasted from."""
        text = self.drafts.pop(task, None)
        if text is not None:
            self.copy_to_clipboard(text)
            self.toast(f"{task} is no longer a dead letter. Its edited payload is in the clipboard.", "warning")

    def requeue(self, tasks: Sequence[str]) -> None:
        """Requeue dead letters, edited ones with their new payloads; more than one is confirmed."""
        if not tasks:
            return
        held = set(self.pending.tasks) if self.pending else set()
        if held & set(tasks):
            self.toast("It is being discarded: press u first.", "warning")
            return
        try:
            wanted = acts.requeues(self.operator, tasks, self.drafts)
        except BadJson as error:
            self.toast(f"The edited payload is not sent: {error}", "error")
            return
        if len(tasks) == 1:
            self._do(wanted)
            return
        edited = sum(1 for task in tasks if task in self.drafts)
        detail = f"{edited} of them with an edited payload." if edited else "Each with its payload as it is."
        self._ask(f"Requeue {acts.named(tasks)}?", detail, "requeue", wanted)

    def discard(self, tasks: Sequence[str]) -> None:
        """Give dead letters up: asked first, and undone by `u` for some seconds."""
        if not tasks:
            return
        them = "It is" if len(tasks) == 1 else "They are"
        detail = f"{them} not tried again. u takes it back for {acts.UNDO_S} s."
        question = f"Discard {acts.named(tasks)}?"
        self.push_screen(Confirm(question, detail, "discard"), lambda ok: self._discard(tuple(tasks)) if ok else None)

    def _discard(self, tasks: tuple[str, ...]) -> None:
        self.flush()
        self.pending = Pending(tasks, self.look.now_ms() + acts.UNDO_S * 1000)
        self._pending_timer = self.set_timer(acts.UNDO_S, self.flush)
        self._tick()

    def undo(self) -> None:
        """Take the waiting discard back."""
        if self.pending is None:
            self.toast("Nothing to undo.", "warning")
            return
        tasks, self.pending = self.pending.tasks, None
        if self._pending_timer is not None:
            self._pending_timer.stop()
        self.toast(f"Kept {acts.named(tasks)}.")
        self._tick()

    def flush(self) -> None:
        """Perform the waiting discard now."""
        if self.pending is None:
            return
        tasks, self.pending = self.pending.tasks, None
        if self._pending_timer is not None:
            self._pending_timer.stop()
        self._do([acts.discard(self.operator, tasks)])

    def pending_line(self) -> Line:
        """Return the notice of a discard that can still be undone."""
        if self.pending is None:
            return EMPTY
        left = max(self.pending.due_ms - self.look.now_ms(), 0)
        what = f" Discarding {acts.named(self.pending.tasks)} in {units.age(left + 999)}. "
        return (raw(what, "amber"), raw("u", "key", "app.undo"), raw(" undo", "text", "app.undo"))

    def action_undo(self) -> None:
        self.undo()

    def mark_all(self, wanted: Filter) -> None:
        """Mark all dead letters that a filter shows."""
        self.feed.drop("ids")
        self.feed.ask("ids", LetterIds(wanted))

    def action_leave(self) -> None:
        """Quit. A waiting discard was confirmed, so it is performed; unsent edits are asked about."""
        if self.drafts:
            number = units.plural(len(self.drafts), "edited payload")
            detail = "The text is lost when the dashboard closes."
            self.push_screen(
                Confirm(f"Quit with {number} not sent?", detail, "quit"),
                lambda ok: self._leave() if ok else None,
            )
            return
        self._leave()

    def _leave(self) -> None:
        if self.pending is not None:
            tasks, self.pending = self.pending.tasks, None
            acts.perform(acts.discard(self.operator, tasks))
        self.exit()

    async def action_quit(self) -> None:
        self.action_leave()


class DashScreen(Listening):
    """A screen that reaches the dashboard it is one of."""

    @property
    def dash(self) -> Dash:
        """The app, with what it knows."""
        return cast(Dash, self.app)
