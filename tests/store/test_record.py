"""Records behave like frozen, slotted dataclasses, without the import."""

import pickle
import subprocess
import sys

import pytest

from agentctl_store.record import as_dict, fields_of, from_mapping, record, replace


@record
class Point:
    """A point."""

    x: int
    y: int = 0

    def moved(self, by: int) -> "Point":
        return replace(self, x=self.x + by)


def test_a_record_has_fields_defaults_equality_hash_and_a_readable_form() -> None:
    assert Point(1) == Point(1, 0) == Point(x=1, y=0)
    assert hash(Point(1)) == hash(Point(1, 0))
    assert Point(1) != Point(2) and Point(1) != (1, 0)
    assert repr(Point(1, 2)) == "Point(x=1, y=2)"
    assert fields_of(Point) == ("x", "y") and as_dict(Point(1)) == {"x": 1, "y": 0}
    assert Point(1).moved(2) == Point(3)


def test_a_record_cannot_be_changed_and_takes_no_other_fields() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match="frozen"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="frozen"):
        del point.x
    with pytest.raises(TypeError):
        Point()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        replace(point, z=1)
    assert not hasattr(point, "__dict__")


def test_a_record_matches_patterns_and_pickles_and_reads_mappings() -> None:
    match Point(1, 2):
        case Point(x, y):
            assert (x, y) == (1, 2)
    assert pickle.loads(pickle.dumps(Point(4, 5))) == Point(4, 5)
    assert from_mapping(Point, {"x": 9, "other": 1}) == Point(9)


def test_records_do_not_import_dataclasses() -> None:
    code = "import sys, agentctl_store.domain.task; sys.exit('dataclasses' in sys.modules or 'typing' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
