"""The documents are true: every block runs, every link leads somewhere.

A page's blocks run in order in one empty folder. A comment on the line above a block steers it:
`<!-- not run: reason -->`, `<!-- long: reason -->` (run by make test-all), `<!-- file: name -->`
(write it instead of running it), `<!-- exits: N -->`. `<!-- needs: package -->` anywhere makes a
page wait for that package.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("*.md", "docs/**/*.md", "plugins/*/*.md", "examples/third_party/*/*.md")
PAGES = sorted(page for pattern in FOLDERS for page in ROOT.glob(pattern))
RUNNABLE = {"python", "console", "bash"}
SHOWN = {"text", "yaml", "toml", "json", "mermaid", "markdown", "csv"}
MOST_NOT_RUN = 12
SECONDS = 300

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\S*)\s*$")
MARK = re.compile(r"<!-- (?P<key>not run|long|file|exits|needs): (?P<value>.+?) -->")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str
    marks: dict[str, str]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_run(self) -> bool:
        return self.language in RUNNABLE and not {"not run", "file"} & set(self.marks)


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page in order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    opened: tuple[int, re.Match[str]] | None = None
    for number, line in enumerate(lines, 1):
        fence = FENCE.match(line)
        if fence and opened is None:
            opened = (number, fence)
        elif opened and line.strip() == "```":
            start, head = opened
            indent = len(head["indent"])
            text = "\n".join(row[indent:] for row in lines[start : number - 1]) + "\n"
            above = lines[start - 2] if start > 1 else ""
            marks = {mark["key"]: mark["value"] for mark in MARK.finditer(above)}
            yield Block(page, start, head["language"], text, marks)
            opened = None
    assert opened is None, f"{page}: a block is not closed"


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def command_of(block: Block) -> list[str]:
    """Return the command that runs a block; of a session, the lines after `$ `."""
    if block.language == "python":
        return [sys.executable, "-W", "error", "-c", block.text]
    script = block.text
    if block.language == "console":
        script = "\n".join(line[2:] for line in block.text.splitlines() if line.startswith(("$ ", "> ")))
    return ["bash", "-eu", "-o", "pipefail", "-c", script]


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as a forge makes them."""
    headings = re.findall(r"^#+ +(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def run_page(page: Path, home: Path, with_long_blocks: bool) -> None:
    """Run a page's blocks in order, in a folder of its own."""
    needs = [
        mark["value"] for mark in MARK.finditer(page.read_text(encoding="utf-8")) if mark["key"] == "needs"
    ]
    if missing := [name for name in needs if find_spec(name) is None]:
        pytest.skip(f"{', '.join(missing)} is not installed")
    folder = home / "here"
    folder.mkdir()
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "XDG_STATE_HOME": str(home / "state"),
        "COLUMNS": "120",
        "FWPROF_MAX_SECONDS": "2",  # the commands are under test, not their figures
        "FWPROF_NO_MEMORY": "1",
        # What a page installs, it installs for itself: from its own folder alone, and below it.
        "PIP_TARGET": str(folder / "site"),
        "PYTHONPATH": str(folder / "site"),
        "PIP_NO_DEPS": "1",
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads the variable as a value of what it negates
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    for block in blocks_of(page):
        if "file" in block.marks:
            (folder / block.marks["file"]).write_text(block.text, encoding="utf-8")
        elif block.is_run and (with_long_blocks or "long" not in block.marks):
            ran = subprocess.run(
                command_of(block),
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=SECONDS,
            )
            expected = int(block.marks.get("exits", "0"))
            assert ran.returncode == expected, f"{block}\n{ran.stdout}\n{ran.stderr}"


ALL_BLOCKS = [block for page in PAGES for block in blocks_of(page)]
RUN_PAGES = sorted({block.page for block in ALL_BLOCKS if block.is_run})
LONG_PAGES = sorted({block.page for block in ALL_BLOCKS if block.is_run and "long" in block.marks})


@pytest.mark.parametrize("page", RUN_PAGES, ids=name_of)
def test_every_block_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    run_page(page, tmp_path, with_long_blocks=False)


@pytest.mark.sweep
@pytest.mark.parametrize("page", LONG_PAGES, ids=name_of)
def test_the_long_blocks_of_a_page_run_too(page: Path, tmp_path: Path) -> None:
    run_page(page, tmp_path, with_long_blocks=True)


def test_every_language_of_a_block_is_known() -> None:
    odd = [f"{block}: {block.language!r}" for block in ALL_BLOCKS if block.language not in RUNNABLE | SHOWN]
    assert odd == []


def test_few_blocks_are_not_run_and_each_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    not_run = [block for block in ALL_BLOCKS if "not run" in block.marks]
    with capsys.disabled():
        print(f"\n{len(not_run)} documentation blocks are not run:")
        for block in not_run:
            print(f"  {block}: {block.marks['not run']}")
    assert len(not_run) <= MOST_NOT_RUN


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_resolves(page: Path) -> None:
    prose = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    prose = re.sub(r"`[^`\n]*`", "", prose)
    broken = []
    for target in (link["target"] for link in LINK.finditer(prose)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors_of(file)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("```console\n$ echo one\none\n$ echo two\n```\n", "echo one\necho two"),
        ("  ```bash\n  echo one\n  ```\n", "echo one\n"),
    ],
)
def test_a_session_runs_its_prompt_lines_only(text: str, expected: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    (block,) = blocks_of(page)
    assert command_of(block)[-1] == expected
