"""How several benchmarks share one document: each writes its own section of `docs/performance.md`, and no other's."""

import os
import platform
import re
from pathlib import Path

PERFORMANCE = Path(__file__).parents[1] / "docs" / "performance.md"


def write_section(title: str, body: str, path: Path = PERFORMANCE) -> None:
    """Put `body` under the heading `## title`: in place of what stood there, or at the end; all else stays.

    Headings inside `body` start at `###`. A document that is not there yet begins with `# Performance`.
    """
    if re.search("^##? ", body, re.MULTILINE):
        raise ValueError(f"the section {title} holds a heading of # or ##: start its headings at ###")
    text = path.read_text(encoding="utf-8") if path.exists() else "# Performance\n"
    head, *sections = re.split("^(?=## )", text, flags=re.MULTILINE)
    new = f"## {title}\n\n{body.strip()}\n"
    titles = [section.split("\n", 1)[0].removeprefix("## ") for section in sections]
    if title in titles:
        sections[titles.index(title)] = new
    else:
        sections.append(new)
    path.write_text("\n\n".join(part.strip() for part in (head, *sections)) + "\n", encoding="utf-8")


def markdown(head: list[str], rows: list[list]) -> list[str]:
    """Return the lines of a Markdown table."""
    return ["| " + " | ".join(map(str, row)) + " |" for row in (head, ["---"] * len(head), *rows)]


def shown(measured: dict | None, digits: int = 3) -> str:
    """Return "value [low, high]", "-" for nothing."""
    if measured is None:
        return "-"
    return f"{measured['value']:.{digits}f} [{measured['low']:.{digits}f}, {measured['high']:.{digits}f}]"


def machine() -> str:
    """Return what the numbers were measured on."""
    cpu = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in cpu.read_text().splitlines() if "model name" in line] \
        if cpu.exists() else []
    return f"{os.cpu_count()} cores ({names[0] if names else platform.machine()})"
