"""The document that several benchmarks write: each its own section, and no other's."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def write_section(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from document import write_section
    return write_section


def test_a_section_takes_the_place_of_its_own_and_leaves_the_others(write_section, tmp_path):
    path = tmp_path / "performance.md"
    for title, body in (("One", "1\n\n### in one\n\na"), ("Two", "2\n"), ("Three", "3"), ("Two", "new\n\n\n")):
        write_section(title, body, path)
    assert path.read_text() == ("# Performance\n\n## One\n\n1\n\n### in one\n\na\n\n## Two\n\nnew\n\n## Three\n\n3\n")


def test_a_body_with_a_heading_of_a_section_is_refused(write_section, tmp_path):
    with pytest.raises(ValueError, match="start its headings at ###"):
        write_section("One", "fine\n## Two\n", tmp_path / "performance.md")
    assert not (tmp_path / "performance.md").exists()


def test_the_document_of_the_project_is_what_writing_a_section_again_gives(write_section, tmp_path):
    text = (ROOT / "docs" / "performance.md").read_text()
    section = text.split("## Calibration\n", 1)[1].split("\n## ", 1)[0]
    (copy := tmp_path / "performance.md").write_text(text)
    write_section("Calibration", section, copy)
    assert copy.read_text() == text
