"""The reference of every setting of every script, from the schemas themselves: `racer/config.py` and `conf/`.

    python benchmarks/settings.py

Writes `docs/settings.md`, in seconds. A test holds the page to what the schemas say: run this again after a setting is
added, and commit the page with it.
"""

import ast
import inspect
import io
import re
import textwrap
import tokenize
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import get_args

from document import markdown
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from racer import config

ROOT = Path(__file__).parents[1]
PRESETS = ("data", "encoder", "router", "head")  # groups of conf/ that set a group of settings
HEAD = """# Every setting

Made by `python benchmarks/settings.py` from the schemas in [racer/config.py](../racer/config.py) and the presets in
[conf](../conf). A setting is given on the command line as `key=value`, nested ones as `risk.alpha=0.05`; a list as
`data.tasks=[a,b]`, none as `null`. A name or a type that is not in the schema is an error. *Needed*: there is no
default. Each script names the presets it starts from; what they set goes before the defaults of their group.
"""


@dataclass(frozen=True)
class Setting:
    """A field of a schema: its name, its type and default as they are written, the comment beside it."""

    name: str
    type: str
    default: str
    says: str
    schemas: tuple[type, ...]  # the schemas that it holds


def main(root: Path = ROOT) -> None:
    (root / "docs" / "settings.md").write_text(page(), encoding="utf-8")


def page() -> str:
    """Return the whole reference in Markdown: a section per script, then one per group of settings."""
    config.register()
    roots = {name: (schema_of(name), scripts) for name, scripts in scripts_by_config().items()}
    groups = {schema: key for schema, _ in roots.values() for key, schema in nested(schema)}
    titles = {schema: title(schema, key, groups, roots) for schema, key in groups.items()}
    scripts = {schema: scripts[0] for schema, scripts in roots.values()}
    parts = [HEAD, *(script_section(name, *root, titles, scripts) for name, root in roots.items()),
             "## Groups of settings\n", *(group_section(schema, key, titles) for schema, key in groups.items())]
    return "\n".join(parts)


# ---------------------------------------------------------------- what there is


def scripts_by_config() -> dict[str, list[str]]:
    """Return the scripts of each `conf/NAME.yaml`, train first: it holds most of the groups."""
    found = {}
    for path in sorted((ROOT / "scripts").glob("*.py"), key=lambda path: (path.stem != "train", path.stem)):
        if name := re.search(r'@cli.script\("(\w+)"', path.read_text(encoding="utf-8")):
            found.setdefault(name[1], []).append(path.name)
    return found


def conf(name: str) -> DictConfig:
    return OmegaConf.load(ROOT / "conf" / f"{name}.yaml")


def schema_of(name: str) -> type:
    """Return the dataclass that `conf/NAME.yaml` starts from."""
    return OmegaConf.get_type(ConfigStore.instance().repo[f"{conf(name).defaults[0]}.yaml"].node)


def presets_of(name: str) -> list[str]:
    """Return the presets that `conf/NAME.yaml` starts from, as they would be given."""
    entries = OmegaConf.to_container(conf(name).defaults)
    pairs = [pair for entry in entries if isinstance(entry, dict) for pair in entry.items()]
    return [f"{key}={value}" for key, value in pairs if not key.startswith("override") and value is not None]


def nested(schema: type, above: str = "") -> list[tuple[str, type]]:
    """Return the groups in a schema with their keys, `risk` and `risk.also`, outer ones first."""
    found = []
    for setting in settings(schema, inherited=True):
        for inner in setting.schemas:
            found += [(above + setting.name, inner), *nested(inner, f"{above}{setting.name}.")]
    return found


def settings(schema: type, inherited: bool = False) -> list[Setting]:
    """Return the settings of a schema, in order, with those of the schemas it extends if `inherited`."""
    bases = [base for base in schema.__bases__ if is_dataclass(base) and inherited]
    found = [one for base in bases for one in settings(base, True)]
    source = textwrap.dedent(inspect.getsource(schema))
    comments, held = comments_of(source), {field.name: field for field in fields(schema)}
    for node in ast.parse(source).body[0].body:
        if isinstance(node, ast.AnnAssign):
            kind = held[node.target.id].type
            inner = tuple(part for part in (kind, *get_args(kind)) if is_dataclass(part))
            found.append(Setting(node.target.id, ast.unparse(node.annotation), default_of(held[node.target.id]),
                                 beside(comments, node.end_lineno), inner))
    return found


def comments_of(source: str) -> dict[int, tuple[str, bool]]:
    """Return the comment of each line, and whether it has the line to itself."""
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(source).readline)
              if token.type == tokenize.COMMENT]
    return {token.start[0]: (token.string.lstrip("# "), not token.line[:token.start[1]].strip()) for token in tokens}


def beside(comments: dict[int, tuple[str, bool]], line: int) -> str:
    """Return the comment at the end of `line`, and what goes on below it."""
    said = [comments[line][0]] if line in comments else []
    while said and comments.get(line + 1, ("", False))[1]:
        line += 1
        said.append(comments[line][0])
    return " ".join(said)


def default_of(field) -> str:
    """Return a default as one would give it on the command line; *needed* where there is none."""
    value = field.default if field.default is not MISSING else field.default_factory()
    if value == "???":
        return "*needed*"
    if value is None or isinstance(value, bool):
        return f"`{str(value).lower().replace('none', 'null')}`"
    if isinstance(value, list):
        return f"`[{','.join(map(str, value))}]`"
    return f"`{value}`" if value != "" else "empty"


# ---------------------------------------------------------------- how it is written


def title(schema: type, key: str, groups: dict[type, str], roots: dict) -> str:
    """Return the heading of a group: its key, and whose it is where an earlier group has that key."""
    if next(first for first, other in groups.items() if other == key) is schema:
        return key
    users = [script for root, scripts in roots.values() if schema in dict(map(reversed, nested(root)))
             for script in scripts]
    return f"{key}, of {', '.join(users)}"


def script_section(name: str, schema: type, scripts: list[str], titles: dict[type, str],
                   first: dict[type, str]) -> str:
    """Return what the scripts of `conf/NAME.yaml` take; `first` is a script of each schema."""
    lines = ["## " + ", ".join(f"scripts/{script}" for script in scripts), ""]
    if presets := presets_of(name):
        lines += [f"Starts from {', '.join(f'`{one}`' for one in presets)}.", ""]
    lines += [f"All settings of {link('scripts/' + first[base])}, and:\n" for base in schema.__bases__ if base in first]
    return "\n".join([*lines, *rows(schema, titles, given=OmegaConf.to_container(conf(name))), ""])


def group_section(schema: type, key: str, titles: dict[type, str]) -> str:
    lines = [f"### {titles[schema]}", "", inspect.cleandoc(schema.__doc__), "", *rows(schema, titles, f"{key}."), ""]
    if key in PRESETS:
        lines += [*presets(key), ""]
    return "\n".join(lines)


def rows(schema: type, titles: dict[type, str], prefix: str = "", given: dict | None = None) -> list[str]:
    """Return the table of a schema's own settings; what `given` holds goes before the defaults of the schema."""
    found = []
    for one in settings(schema):
        if one.schemas and one.type.split("[")[0] not in ("list", "dict"):  # a group: its settings are named there
            inner = one.schemas[0]
            found.append([f"`{prefix}{one.name}.*`", "", "", link(titles[inner])])
        else:
            says = f"{one.says} {link(titles[one.schemas[0]])}" if one.schemas else one.says
            default = f"`{given[one.name]}`" if one.name in (given or {}) else one.default
            found.append([f"`{prefix}{one.name}`", f"`{one.type}`", default, says])
    return markdown(["setting", "type", "default", "meaning"], [[escaped(cell) for cell in row] for row in found])


def presets(group: str) -> list[str]:
    """Return what each preset of a group sets."""
    found = []
    for path in sorted((ROOT / "conf" / group).glob("*.yaml")):
        given = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        found.append([f"`{group}={path.stem}`", ", ".join(f"`{key}: {'null' if value is None else value}`"
                                                         for key, value in given.items() if key != "defaults")])
    return markdown(["preset", f"what it sets in `{group}`"], [[escaped(cell) for cell in row] for row in found])


def link(heading: str) -> str:
    return f"[{heading}](#{anchor(heading)})"


def anchor(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def escaped(cell: str) -> str:
    return cell.replace("|", "\\|")


if __name__ == "__main__":
    main()
