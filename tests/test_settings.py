"""The reference of settings: the page says what the schemas say, and leaves none of them out."""

import re
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path

import pytest

from racer import config as schemas

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "settings.md"


@pytest.fixture
def reference(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import settings
    return settings


def test_the_page_of_the_project_is_what_the_schemas_give(reference, tmp_path):
    (tmp_path / "docs").mkdir()
    reference.main(tmp_path)
    assert PAGE.read_text() == (tmp_path / "docs" / "settings.md").read_text(), \
        "a setting changed: run `python benchmarks/settings.py` and commit docs/settings.md"


def test_every_script_and_every_setting_is_on_the_page():
    text = PAGE.read_text()
    for script in (ROOT / "scripts").glob("*.py"):
        if "@cli.script" in script.read_text():
            assert re.search(rf"^## .*scripts/{script.name}\b", text, re.MULTILINE), script
    assert not re.findall(r"^\| `.*\|\s*\|$", text, re.MULTILINE), "a setting without a word on what it means"
    rows = re.findall(r"^\| `([\w.*]+)` \|", text, re.MULTILINE)
    told = {name.removesuffix(".*").split(".")[-1] for name in rows}
    for name, schema in vars(schemas).items():
        if is_dataclass(schema) and schema.__module__ == schemas.__name__:
            assert {f.name for f in fields(schema)} <= told, name


def test_the_links_of_the_page_lead_somewhere(reference):
    text = PAGE.read_text()
    headings = {reference.anchor(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
    links = re.findall(r"\]\(#([^)]*)\)", text)
    assert links and set(links) <= headings


@dataclass
class Inner:
    """What is inside."""

    depth: float = 0.5


@dataclass
class Outer:
    """What is outside."""

    name: str = "???"  # of the thing
    many: list[str] = field(default_factory=lambda: ["a", "b"])  # one | another, which
    # goes on here
    # and here
    bare: bool = True
    none: int | None = None  # with a "quoted # sign"
    inner: Inner = field(default_factory=Inner)


@dataclass
class More(Outer):
    """What is added."""

    last: str = ""  # the last


def test_a_setting_is_read_with_its_default_and_its_whole_comment(reference):
    found = {one.name: one for one in reference.settings(Outer)}
    assert list(found) == ["name", "many", "bare", "none", "inner"]
    assert (found["name"].default, found["name"].says, found["name"].type) == ("*needed*", "of the thing", "str")
    assert (found["many"].default, found["many"].says) == ("`[a,b]`", "one | another, which goes on here and here")
    assert (found["bare"].default, found["bare"].says) == ("`true`", "")
    assert (found["none"].default, found["none"].says) == ("`null`", 'with a "quoted # sign"')
    assert found["inner"].schemas == (Inner,) and not found["many"].schemas


def test_a_schema_that_extends_another_tells_only_its_own_settings_unless_asked(reference):
    assert [one.name for one in reference.settings(More)] == ["last"]
    assert next(one.name for one in reference.settings(More, inherited=True)) == "name"
    assert reference.settings(More)[0].default == "empty"
    assert reference.nested(More) == [("inner", Inner)]


def test_a_bar_in_a_comment_does_not_end_its_cell(reference):
    rows = reference.rows(Outer, {Inner: "inner"}, "outer.")
    assert rows[3] == "| `outer.many` | `list[str]` | `[a,b]` | one \\| another, which goes on here and here |"
    assert rows[-1] == "| `outer.inner.*` |  |  | [inner](#inner) |"
    assert "| `outer.name` | `str` | `given` | of the thing |" in reference.rows(Outer, {Inner: "inner"}, "outer.",
                                                                             given={"name": "given"})
