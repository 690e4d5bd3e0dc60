"""The pictures in screenshots/ can be shown anywhere: whole, small, and of nobody's machine."""

from __future__ import annotations

import os
import re
from xml.etree import ElementTree

import pytest

from screenshots import AFTERWARDS, FOLDER, MAX_BYTES, WORKING, local

PICTURES = [view.name for view in (*WORKING, *AFTERWARDS)]
NAMESPACE = "http://www.w3.org/2000/svg"


def read(name: str) -> str:
    with open(os.path.join(FOLDER, f"{name}.svg"), encoding="utf-8") as file:
        return file.read()


def words(name: str) -> str:
    """The text of a picture as a person reads it."""
    return " ".join(ElementTree.fromstring(read(name)).itertext()).replace("\xa0", " ")


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_well_formed_and_of_moderate_size(name):
    assert ElementTree.fromstring(read(name)).tag == f"{{{NAMESPACE}}}svg"
    assert len(read(name).encode()) <= MAX_BYTES


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_fetches_nothing(name):
    text = read(name)
    assert not re.findall(r"@import|@font-face|url\(\s*['\"]?(?!#)|(?:href|src)\s*=", text)
    assert set(re.findall(r"https?://[^\s\"'<>]+", text)) == {NAMESPACE}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_holds_no_path_of_a_machine(name):
    assert not re.findall(r"(?<![\w.…])[/~](?:home|root|tmp|work|usr|var|opt|private|Users)\b", words(name))


def test_pictures_show_the_fleet_at_work_and_the_dead_letter_with_its_reason():
    assert "healthy" in words("fleet") and "working" in words("fleet")
    for name in ("dead-letters", "dead-letters-light"):
        assert "permanent" in words(name) and '"path"' in words(name)
        assert "parsed as Python: invalid character" in re.sub(r"\s+", " ", words(name))


def test_fonts_from_the_network_are_taken_out():
    made = local('<svg><style>@font-face { font-family: "F"; src: url("https://cdn/x.woff2"); } .a { font-family: F; }')
    assert "url(" not in made and "F;" not in made and "monospace" in made
