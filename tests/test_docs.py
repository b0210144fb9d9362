"""Every code block of the README and of docs/ runs as printed.

The blocks of one page run in order, in one empty folder: a bash block may record what a python block then opens.
A block that cannot run here says why in its info string, as in "bash no-run: takes an hour".
In console blocks the lines after a command are its output; `...` in them stands for anything.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [page for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if page.is_file()]
SHELL_LANGUAGES = {"bash", "sh", "shell"}
RUN_LANGUAGES = SHELL_LANGUAGES | {"console", "python"}
NO_RUN = "no-run"
LONGEST_BLOCK_S = 600
FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>[^`]*)$")


@dataclass(frozen=True)
class Block:
    """One fenced code block."""

    page: Path
    """The page it stands on."""
    line: int
    """Line of its first line of code, from 1."""
    language: str
    """First word of the info string; empty where there is none."""
    note: str
    """The rest of the info string."""
    code: str
    """What stands between the fences."""

    @property
    def place(self) -> str:
        """Where to look, as an editor opens it."""
        return f"{self.page.relative_to(ROOT) if self.page.is_relative_to(ROOT) else self.page}:{self.line}"


def blocks_of(page: Path, text: str) -> list[Block]:
    """The fenced blocks of a page, in order; an unclosed fence is an error."""
    blocks: list[Block] = []
    opening: re.Match[str] | None = None
    lines: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        match = FENCE.match(line)
        if opening is None:
            if match:
                opening, lines = match, []
        elif match and match["fence"].startswith(opening["fence"]) and not match["info"].strip():
            language, _, note = opening["info"].strip().partition(" ")
            code = "".join(row.removeprefix(opening["indent"]) + "\n" for row in lines)
            blocks.append(Block(page, number - len(lines), language, note.strip(), code))
            opening = None
        else:
            lines.append(line)
    assert opening is None, f"{page}: a code fence is never closed"
    return blocks


def console_steps(code: str) -> list[tuple[str, str]]:
    """The commands of a console block, each with the output printed under it."""
    steps: list[tuple[str, str]] = []
    for line in code.splitlines():
        if line.startswith("$ "):
            steps.append((line[2:], ""))
        elif steps and (steps[-1][0].endswith("\\") and not steps[-1][1]):
            steps[-1] = (steps[-1][0] + "\n" + line, "")
        else:
            assert steps, f"a console block starts with a line '$ command', this one with {line!r}"
            steps[-1] = (steps[-1][0], steps[-1][1] + line + "\n")
    return steps


def _run_shell(block: Block, command: str, folder: Path) -> str:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LONGEST_BLOCK_S,
    )
    assert done.returncode == 0, f"{block.place}: exit code {done.returncode} of\n{command}\n{done.stdout}"
    return done.stdout


def _run_console(block: Block, folder: Path) -> None:
    for command, printed in console_steps(block.code):
        output = _run_shell(block, command, folder)
        if printed.strip():
            pattern = ".*".join(re.escape(part) for part in printed.strip().split("..."))
            assert re.fullmatch(pattern, output.strip(), flags=re.DOTALL), (
                f"{block.place}: `{command}` prints\n{output}\nwhere the page shows\n{printed}"
            )


def run_block(block: Block, folder: Path, names: dict[str, object]) -> None:
    """Run one block in a folder; `names` carries variables from one python block of the page to the next."""
    if block.language in SHELL_LANGUAGES:
        _run_shell(block, block.code, folder)
    elif block.language == "console":
        _run_console(block, folder)
    else:
        # Empty lines in front make a traceback point at the page's own line numbers.
        source = "\n" * (block.line - 1) + block.code
        exec(compile(source, str(block.page), "exec"), names)


def _is_skipped(block: Block) -> bool:
    if not block.note.startswith(NO_RUN):
        return False
    reason = block.note.removeprefix(NO_RUN).strip(" :")
    assert reason, f"{block.place}: {NO_RUN} needs a reason, as in '{NO_RUN}: takes an hour'"
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_run_as_printed(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks_of(page, page.read_text(encoding="utf-8")):
        if block.language in RUN_LANGUAGES and not _is_skipped(block):
            run_block(block, tmp_path, names)


def test_the_readme_is_among_the_pages() -> None:
    assert ROOT / "README.md" in PAGES


PAGE = Path("page.md")


def test_blocks_keep_language_note_line_and_order() -> None:
    text = "# A\n\n```bash no-run: takes an hour\nsleep 3600\n```\n\n- item\n\n  ```python\n  x = 1\n  ```\n"
    first, second = blocks_of(PAGE, text)
    assert first == Block(PAGE, 4, "bash", "no-run: takes an hour", "sleep 3600\n")
    assert second == Block(PAGE, 10, "python", "", "x = 1\n")


def test_a_longer_fence_holds_a_shorter_one() -> None:
    (block,) = blocks_of(PAGE, "````text\n```bash\nfalse\n```\n````\n")
    assert (block.language, block.code) == ("text", "```bash\nfalse\n```\n")


def test_an_unclosed_fence_is_found() -> None:
    with pytest.raises(AssertionError, match="never closed"):
        blocks_of(PAGE, "```bash\ntrue\n")


def test_no_run_needs_a_reason() -> None:
    with pytest.raises(AssertionError, match="needs a reason"):
        _is_skipped(Block(PAGE, 1, "bash", "no-run", "true\n"))
    assert _is_skipped(Block(PAGE, 1, "bash", "no-run: CI runs it itself", "make test\n"))


def test_python_blocks_share_names_and_shell_blocks_share_the_folder(tmp_path: Path) -> None:
    names: dict[str, object] = {}
    run_block(Block(PAGE, 1, "python", "", "x = 41\n"), tmp_path, names)
    run_block(Block(PAGE, 5, "python", "", "x += 1\n"), tmp_path, names)
    run_block(Block(PAGE, 9, "bash", "", "echo mien > word.txt\n"), tmp_path, names)
    run_block(Block(PAGE, 13, "console", "", "$ cat \\\n  word.txt\nmi...\n$ true\n"), tmp_path, names)
    assert names["x"] == 42


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("bash", "false\ntrue\n"),
        ("bash", "false | true\n"),
        ("bash", "echo $undefined\n"),
        ("console", "$ echo one\ntwo\n"),
        ("python", "assert False\n"),
    ],
)
def test_a_block_that_fails_is_found(language: str, code: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        run_block(Block(PAGE, 1, language, "", code), tmp_path, {})


def test_the_takes_table_is_the_schemas() -> None:
    """docs/take.md shows what storage/schema.py declares."""
    from storage.schema import schema_table_markdown

    assert schema_table_markdown().rstrip() in (ROOT / "docs" / "take.md").read_text()
