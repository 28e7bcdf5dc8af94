"""What the pages say is there, and no page is a wall of text."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

import etl
import trainer

ROOT = Path(str(etl.__file__)).parents[1]
PAGES = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/README.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
COLUMNS, PARAGRAPH, ITEM = 100, 4, 2
MAP = "catalogue -> plan -> source -> upsample -> store == stream -> model -> fit -> report"

ITEM_START = re.compile(r"\s*([-*]|\d+\.) ")


def page_id(path):
    return str(path.relative_to(ROOT))


def without_code(text):
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def blocks(text):
    """Lines of each paragraph and each list item, without code, tables, headings and comments."""
    block = []
    for line in [*without_code(text).splitlines(), ""]:
        if not line.strip() or line.lstrip().startswith(("|", "#", "<!--", "![", "!!!")) or ITEM_START.match(line):
            if block:
                yield block
            block = [line] if ITEM_START.match(line) else []
        else:
            block.append(line)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_a_page_has_short_lines_paragraphs_and_list_items(page):
    for block in blocks(page.read_text(encoding="utf-8")):
        most = ITEM if ITEM_START.match(block[0]) else PARAGRAPH
        assert len(block) <= most, f"{page_id(page)}: more than {most} lines: {block[0]}"
        for line in block:
            assert len(line) <= COLUMNS or line.count(" ") < 3, f"{page_id(page)}: {len(line)} columns: {line}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=page_id)
def test_files_and_modules_that_a_page_names_are_there(page):
    text = page.read_text(encoding="utf-8")
    files = re.findall(r"`((?:etl|trainer|benchmarks|tests|deploy|docs)/[\w./-]*)`", text)
    names = re.findall(r"`((?:etl|trainer|benchmarks)(?:\.\w+)+)`", text)
    for module, imported in re.findall(
        r"^from ((?:etl|trainer|benchmarks)[\w.]*) import ([\w, ]+)", text, re.MULTILINE
    ):
        names += [f"{module}.{name.strip()}" for name in imported.split(",")]
    missing = [name for name in files if not (ROOT / name).exists()] + [name for name in names if not found(name)]
    assert not missing, f"{page_id(page)} names what is not there: {', '.join(missing)}"


def found(name):
    """Whether a module of that name is there, or a name in a module: looked for in its text, nothing is imported."""
    parent, _, last = name.rpartition(".")
    for module, inner in ((name, ""), (parent, last)):
        try:
            spec = importlib.util.find_spec(module)
        except ModuleNotFoundError:
            continue
        if spec is not None and (not inner or re.search(rf"\b{inner}\b", Path(spec.origin).read_text("utf-8"))):
            return True
    return False


def test_the_map_is_in_the_same_words_everywhere():
    assert MAP in etl.__doc__
    assert MAP in trainer.__doc__
    for page in ("README.md", "docs/explanation/architecture.md"):
        assert MAP in (ROOT / page).read_text(encoding="utf-8")


def test_the_readme_stays_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 110


def test_every_decision_has_the_same_parts():
    for path in sorted((ROOT / "docs" / "adr").glob("0*.md")):
        text = path.read_text(encoding="utf-8")
        assert re.match(rf"# {int(path.name[:4])}\. \w", text), path.name
        parts = re.findall(r"^\*\*(\w[\w ]+)\.\*\*", text, re.MULTILINE)
        required = ["Context", "Choice", "What it costs", "How to undo"]
        assert [part for part in parts if part != "What was measured"] == required, path.name


def texts_of(package):
    """All texts in a package's code; a null stands for what is filled in."""
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_the_messages_on_the_page_of_inputs_are_those_of_the_code():
    page, texts = (ROOT / "docs/reference/inputs.md").read_text(encoding="utf-8"), list(texts_of("etl"))
    cells = [line.split("|")[3] for line in page.splitlines() if line.startswith("| ") and line.count("|") == 4]
    messages = [message for cell in cells for message in re.findall("`([^`]+)`", cell)]
    parts = [part.strip() for message in messages for part in message.split("...") if part.strip()]
    assert len(parts) > 40
    assert [part for part in parts if not any(part in text for text in texts)] == []
