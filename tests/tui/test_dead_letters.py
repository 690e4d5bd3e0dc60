"""Dead letters: what a person does and sees. Typed text is never lost."""

from __future__ import annotations

import json

from tui_source import REFUSED, Source, letter, task_id

from agentctl_tui.screens.dead_letters import DeadLetterBoard
from agentctl_tui.screens.letter import LetterView
from agentctl_tui.widgets.payload_editor import PayloadEditor
from agentctl_tui.widgets.table import LiveTable


async def at_letters(seat) -> DeadLetterBoard:
    await seat.press("3")
    await seat.sees(lambda: seat.app.current_mode == "dead")
    board = seat.app.screen
    await seat.sees(lambda: board.table.loaded and (not seat.source.letters or board.panel.letter is not None))
    return board


async def edit(seat, board, text: str) -> PayloadEditor:
    editor = board.panel.editor
    await seat.press("e")
    await seat.sees(lambda: editor.has_focus)
    editor.replace(text, (0, 0), editor.document.end)
    editor.move_cursor(editor.document.end)
    await seat.pilot.pause()
    return editor


async def test_the_letter_is_told_whole_error_attempts_output_payload(sit):
    async with sit() as seat:
        await at_letters(seat)
        await seat.sees("✖ no tries left · transient · died 1m37s ago")
        for wanted in ("ConnectionResetError", "5 attempts", "reviewer/4", "exit 1", "last output", '"depth": 0'):
            await seat.sees(wanted)


async def test_moving_shows_the_next_letter_and_its_payload(sit):
    async with sit() as seat:
        await at_letters(seat)
        await seat.press("down")
        await seat.sees('"path": "test/badsyntax_future.py"')
        await seat.sees(task_id(1))


async def test_requeue_sends_it_back_and_shows_the_command(sit):
    async with sit() as seat:
        await at_letters(seat)
        await seat.press("R")
        await seat.sees(f"$ agentctl dlq requeue {task_id(0)}")
        assert seat.source.acts == [("requeue", (task_id(0),), None)]
        await seat.sees("Dead letters 4")


async def test_an_edited_payload_is_checked_as_it_is_typed_and_sent_compact(sit):
    async with sit() as seat:
        board = await at_letters(seat)
        await edit(seat, board, '{"path": "fixed.py",')
        await seat.sees("✖ this is not JSON")
        await seat.press("ctrl+s")
        await seat.sees("The edited payload is not sent")
        assert seat.source.acts == []
        await seat.type(' "n": 1}')
        await seat.sees("✓ edited, valid JSON")
        await seat.press("ctrl+s")
        await seat.sees(lambda: bool(seat.source.acts))
        assert seat.source.acts == [("requeue", (task_id(0),), '{"path":"fixed.py","n":1}')]
        await seat.sees(lambda: not seat.app.drafts)


async def test_a_duplicate_key_is_refused_by_name(sit):
    async with sit() as seat:
        board = await at_letters(seat)
        await edit(seat, board, '{"a": 1, "a": 2}')
        await seat.sees("the key 'a' stands twice")


async def test_typed_text_survives_moving_away_screens_news_and_a_refusal(sit):
    text = '{"path": "typed by hand"}'
    async with sit() as seat:
        board = await at_letters(seat)
        editor = await edit(seat, board, text)
        await seat.press("escape", "down")
        await seat.sees('"path": "test/badsyntax_future.py"')
        await seat.press("up")
        await seat.sees("typed by hand")
        await seat.press("1")
        await seat.sees("Instances")
        await seat.press("3")
        await seat.sees("typed by hand")
        seat.source.letters[task_id(9)] = letter(9)
        seat.source.touch()
        await seat.sees("Dead letters 6")
        assert editor.text == text
        seat.source.refuse = REFUSED
        await seat.press("R")
        await seat.sees("Not done: the task is active again")
        assert editor.text == text
        assert seat.app.drafts == {task_id(0): text}


async def test_typed_text_survives_when_someone_else_requeues_the_task(sit):
    async with sit() as seat:
        board = await at_letters(seat)
        editor = await edit(seat, board, '{"path": "half typ')
        del seat.source.letters[task_id(0)]
        seat.source.touch()
        await seat.sees("Dead letters 4")
        editor.move_cursor(editor.document.end)
        await seat.type("ed")
        assert editor.text == '{"path": "half typed'
        await seat.sees("no longer a dead letter")
        await seat.press("escape")
        await seat.sees("is in the clipboard.")
        assert seat.app.clipboard == '{"path": "half typed'
        await seat.sees('"path": "test/badsyntax_future.py"')


async def test_undo_in_the_editor_brings_back_every_text(sit):
    async with sit() as seat:
        board = await at_letters(seat)
        editor = board.panel.editor
        stored = editor.text
        await edit(seat, board, '{"x": 1}')
        await seat.press("escape", "ctrl+r")
        await seat.sees(lambda: editor.text == stored)
        assert not seat.app.drafts
        await seat.press("e", "ctrl+z")
        await seat.sees(lambda: editor.text == '{"x": 1}')
        assert seat.app.drafts == {task_id(0): '{"x": 1}'}


async def test_quitting_with_typed_text_asks_first(sit):
    async with sit() as seat:
        board = await at_letters(seat)
        await edit(seat, board, '{"x": 1}')
        await seat.press("escape", "q")
        await seat.sees("Quit with 1 edited payload not sent?")
        await seat.press("escape")
        await seat.sees_no("Quit with")
        assert seat.app.is_running


async def test_discard_is_confirmed_and_undone(sit):
    async with sit() as seat:
        await at_letters(seat)
        await seat.press("X")
        await seat.sees(f"Discard {task_id(0)}?")
        await seat.press("y")
        await seat.sees("in 10 s. u undo")
        await seat.press("u")
        await seat.sees(f"Kept {task_id(0)}.")
        await seat.sees_no("u undo")
        assert seat.source.acts == []


async def test_a_discard_that_is_not_undone_happens(sit, monkeypatch):
    monkeypatch.setattr("agentctl_tui.acts.UNDO_S", 0.05)
    async with sit() as seat:
        await at_letters(seat)
        await seat.press("X", "y")
        await seat.sees(f"$ agentctl dlq discard {task_id(0)}")
        assert seat.source.acts == [("discard", (task_id(0),))]
        await seat.sees("Dead letters 4")


async def test_a_confirmed_discard_is_performed_when_the_dashboard_is_quit(sit):
    source = Source()
    async with sit(source) as seat:
        await at_letters(seat)
        await seat.press("X", "y")
        await seat.sees("u undo")
        await seat.press("q")
        await seat.sees(lambda: bool(source.acts))
    assert source.acts == [("discard", (task_id(0),))]


async def test_marked_ones_are_requeued_together_after_a_question(sit):
    async with sit() as seat:
        await at_letters(seat)
        await seat.press("space", "space")
        await seat.sees("2 marked")
        await seat.press("R")
        await seat.sees("Requeue 2 dead letters?")
        await seat.press("y")
        await seat.sees(lambda: bool(seat.source.acts))
        assert seat.source.acts == [("requeue", (task_id(0), task_id(1)), None)]
        await seat.sees("Dead letters 3")
        await seat.sees_no("marked")


async def test_edited_ones_among_the_marked_go_with_their_own_payload(sit):
    async with sit() as seat:
        board = await at_letters(seat)
        await edit(seat, board, '{"x": 1}')
        await seat.press("escape", "space", "space", "R")
        await seat.sees("1 of them with an edited payload.")
        await seat.press("y")
        await seat.sees(lambda: len(seat.source.acts) == 2)
        assert set(seat.source.acts) == {
            ("requeue", (task_id(1),), None),
            ("requeue", (task_id(0),), '{"x":1}'),
        }


async def test_mark_all_marks_what_the_filter_shows_beyond_the_screen(sit):
    source = Source(letters=[letter(n) for n in range(400)])
    async with sit(source) as seat:
        await at_letters(seat)
        await seat.press("slash")
        await seat.type("mail")
        await seat.press("enter")
        await seat.sees("Dead letters 80")
        await seat.press("asterisk")
        await seat.sees("80 marked")
        await seat.press("asterisk")
        await seat.sees_no("marked")


async def test_groups_by_reason_narrow_the_list(sit):
    source = Source(letters=[letter(n) for n in range(40)])
    async with sit(source, size=(200, 60)) as seat:
        await at_letters(seat)
        await seat.sees("all reasons")
        await seat.press("right_square_bracket")
        await seat.sees("· no tries left")
        board = seat.app.screen
        await seat.sees(lambda: all(row.reason == "max_attempts" for row in board.table._place.rows.values()))
        await seat.press("escape")
        await seat.sees("Dead letters 40")


async def test_on_a_narrow_terminal_the_letter_opens_whole_and_can_be_edited(sit):
    async with sit(size=(80, 24)) as seat:
        await at_letters(seat)
        await seat.press("e")
        await seat.sees(lambda: isinstance(seat.app.screen, LetterView))
        editor = seat.app.screen.query_one(PayloadEditor)
        await seat.sees(lambda: editor.has_focus)
        editor.replace('{"x": 2}', (0, 0), editor.document.end)
        await seat.sees("✓ edited, valid JSON")
        await seat.press("escape", "R")
        await seat.sees(lambda: bool(seat.source.acts))
        assert seat.source.acts == [("requeue", (task_id(0),), '{"x":2}')]
        await seat.sees("Dead letters 4")


async def test_jump_finds_a_letter_by_the_beginning_of_its_id(sit):
    source = Source(letters=[letter(n) for n in range(400)])
    async with sit(source) as seat:
        await seat.press("colon")
        await seat.type(task_id(333))
        await seat.press("enter")
        await seat.sees(lambda: seat.app.current_mode == "dead")
        await seat.sees(lambda: seat.app.screen.query_one("#letters", LiveTable).selected_id == task_id(333))
        await seat.sees("died")


async def test_no_dead_letters_says_what_would_come_here(sit):
    async with sit(Source(letters=[])) as seat:
        await seat.press("3")
        await seat.sees("No dead letters.")
        await seat.sees("agentctl dlq list")
        for key in ("R", "X", "e", "asterisk", "u", "y", "enter", "ctrl+r", "right_square_bracket"):
            await seat.press(key)
        assert seat.source.acts == []


async def test_the_payload_that_is_only_read_is_sent_as_it_is_stored(sit):
    payload = json.dumps({"text": "a\u202eb\x1b[31m", "n": 1.50, "big": 2**62})
    source = Source(letters=[letter(0, payload=payload)])
    async with sit(source) as seat:
        board = await at_letters(seat)
        assert json.loads(board.panel.editor.text) == json.loads(payload)
        await seat.press("R")
        await seat.sees(lambda: bool(source.acts))
        assert source.acts == [("requeue", (task_id(0),), None)]
