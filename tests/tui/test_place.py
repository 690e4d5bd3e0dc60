"""A list that changes under a person: the selection and the view stay with what is looked at."""

from __future__ import annotations

import random

import pytest

from agentctl_tui.asks import place
from agentctl_tui.place import Place
from agentctl_tui.window import Span, Window

HEIGHT = 10


class Desk:
    """A list of names, a place in it, and the widget's part: the first line on screen."""

    def __init__(self, names):
        self.names = list(names)
        self.place = Place(lambda name: name)
        self.first = 0
        self.read()

    def read(self):
        for _ in range(3):  # a window can show that another one is needed
            span = self.place.span("name", self.first, HEIGHT)
            position = self.names.index(span.anchor) if span.anchor in self.names else None
            offset = place(span, position, len(self.names))
            window = Window(
                tuple(self.names[offset : offset + span.limit]), offset, len(self.names), span.anchor, position
            )
            moved = self.place.take(window, self.first, HEIGHT)
            if moved is not None:
                self.first = moved
            self.first = max(0, min(self.first, len(self.names) - HEIGHT))
            self.place.settle()

    def go(self, index):
        self.place.move(index)
        cursor = self.place.cursor
        if cursor < self.first:
            self.first = cursor
        elif cursor >= self.first + HEIGHT:
            self.first = cursor - HEIGHT + 1
        self.read()

    @property
    def line(self):
        return self.place.cursor - self.first


def names(n):
    return [f"{i:05d}" for i in range(n)]


def test_the_first_row_is_selected_at_once():
    assert Desk(names(3)).place.selected_id == "00000"


def test_rows_inserted_above_leave_the_selected_row_on_its_line():
    desk = Desk(names(100))
    desk.go(50)
    line = desk.line
    desk.names[10:10] = [f"new{i}" for i in range(7)]
    desk.read()
    assert desk.place.selected_id == "00050"
    assert desk.line == line


def test_rows_deleted_above_leave_the_selected_row_on_its_line():
    desk = Desk(names(100))
    desk.go(50)
    line = desk.line
    del desk.names[3:40]
    desk.read()
    assert desk.place.selected_id == "00050"
    assert desk.line == line


def test_when_the_selected_row_leaves_the_one_that_takes_its_line_is_selected():
    desk = Desk(names(100))
    desk.go(50)
    desk.names.remove("00050")
    desk.read()
    assert desk.place.selected_id == "00051"


def test_at_the_top_new_rows_push_down_until_the_selection_would_leave_the_screen():
    desk = Desk(names(100))
    desk.names[0:0] = ["a", "b", "c"]
    desk.read()
    assert (desk.first, desk.place.selected_id, desk.line) == (0, "00000", 3)
    desk.names[0:0] = [f"n{i}" for i in range(20)]
    desk.read()
    assert desk.place.selected_id == "00000"
    assert desk.line == HEIGHT - 1


def test_scrolled_away_from_the_selection_the_view_holds_its_first_row():
    desk = Desk(names(1000))
    desk.go(5)
    desk.first = 500
    desk.read()
    desk.names[100:100] = ["x"] * 0 + [f"x{i}" for i in range(9)]
    desk.read()
    assert desk.names[desk.first] == "00500"
    assert desk.place.selected_id == "00005"


def test_going_to_a_row_finds_it_anywhere():
    desk = Desk(names(1000))
    desk.place.goto = "00777"
    desk.read()
    assert desk.place.selected_id == "00777"
    assert desk.first <= 777 < desk.first + HEIGHT


def test_an_emptied_list_selects_nothing_and_recovers():
    desk = Desk(names(20))
    desk.go(12)
    desk.names.clear()
    desk.read()
    assert desk.place.selected_id is None
    assert desk.place.selected is None
    desk.names[:] = names(3)
    desk.read()
    assert desk.place.selected_id in desk.names


@pytest.mark.parametrize("total", [0, 1, 7, 1000])
def test_a_window_is_always_inside_the_list(total):
    for position in (None, 0, total - 1):
        for row in (None, 0, 25):
            offset = place(Span(40, 30, "x", "a", row), position, total)
            assert 0 <= offset <= max(total - 1, 0)


def test_whatever_comes_and_goes_a_surviving_selection_stays_selected_and_on_screen():
    seed = random.randrange(1 << 30)
    print("seed", seed)
    rng = random.Random(seed)
    desk = Desk(names(300))
    fresh = 0
    for _ in range(400):
        if rng.random() < 0.3 or desk.place.selected_id is None:
            desk.go(rng.randrange(max(len(desk.names), 1)))
        before = desk.place.selected_id
        keep = {before}
        for _ in range(rng.randrange(30)):
            if rng.random() < 0.5 and desk.names:
                victim = rng.choice(desk.names)
                if victim not in keep:
                    desk.names.remove(victim)
            else:
                desk.names.insert(rng.randrange(len(desk.names) + 1), f"f{fresh}")
                fresh += 1
        desk.read()
        assert desk.place.selected_id == before
        assert desk.names[desk.place.cursor] == before
        assert desk.first <= desk.place.cursor < desk.first + HEIGHT
