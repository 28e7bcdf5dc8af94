"""Parts of the site made from other files: README and its like, `--help`, docstrings, decisions, benchmark records."""

import logging
import os
import posixpath
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]

COPIED = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
}
"""Page of the site by the file of the repository that it shows."""

TITLES = {"reading": "Read a store from Python", "extraction": "Extraction", "training": "Training"}
"""Title of each page of the Python reference."""

log = logging.getLogger("mkdocs.hooks")  # a warning below mkdocs fails the build

_LOADED = re.compile(
    r'<(?:script|img|iframe|link rel="(?:stylesheet|preload|icon)") [^>]*?(?:src|href)="(https?://[^"]+)'
)

_RECORD = re.compile(r"benchmarks/results/(.+)\.json")

_LINK = re.compile(r"(?<=\]\()([^)#:\s]+)(?=[)#])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that have no file of their own below docs/."""
    made = {page: (ROOT / source).read_text(encoding="utf-8") for source, page in COPIED.items()}
    made["reference/commands.md"] = _commands(tuple(config.extra["commands"]))
    made["adr/index.md"] = _decisions()
    made |= {f"benchmarks/{name}.md": text for name, text in _figures().items()}
    for name, modules in config.extra["python"].items():
        made[f"reference/python-{name}.md"] = _modules(TITLES[name], modules)
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let relative links lead to pages of the site, as they lead to files in the repository."""
    here = page.file.src_uri
    source = {page: source for source, page in COPIED.items()}.get(here, f"docs/{here}")

    def relinked(link: "re.Match[str]") -> str:
        in_repository = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[1]))
        target = _site_path(in_repository)
        if target == in_repository and files.get_file_from_path(target) is None and (ROOT / target).is_file():
            files.append(File.generated(config, target, abs_src_path=str(ROOT / target)))  # a picture of another folder
        return posixpath.relpath(target, posixpath.dirname(here) or ".")

    return _LINK.sub(relinked, markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Warn of what a page would load from the network: the site is read on clusters without one."""
    for address in _LOADED.findall(output):
        log.warning("%s loads %s", page.file.src_uri, address)
    return output


def _site_path(in_repository: str) -> str:
    """Where the site has a file of the repository, below its root."""
    if in_repository == "docs/adr":
        return "adr/index.md"
    if in_repository == "benchmarks/results":
        return "benchmarks/figures.md"
    if record := _RECORD.fullmatch(in_repository):
        return f"benchmarks/{record[1]}.md"
    return COPIED.get(in_repository, in_repository.removeprefix("docs/"))


@lru_cache
def _commands(commands: tuple[str, ...]) -> str:
    """The page of all commands: what each prints for `--help`."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        texts = list(pool.map(_help, commands))
    parts = ["# Commands", "What each command prints for `--help`."]
    for command, text in zip(commands, texts, strict=True):
        parts.append(f"## {command}\n\n```text\n{text}```")
    return "\n\n".join(parts) + "\n"


def _help(command: str) -> str:
    """What `python -m command --help` prints; one process, no MPI launcher."""
    env = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    line = [sys.executable, "-m", *command.split(), "--help"]
    done = subprocess.run(line, env=env, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise RuntimeError(f"python -m {command} --help ended with status {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout.replace(f"{ROOT}/", "").replace(str(Path.home()), "~")


def _modules(title: str, modules: list[str]) -> str:
    """A page of the Python reference: the docstrings of some modules."""
    return "\n\n".join([f"# {title}", *(f"::: {module}" for module in modules)]) + "\n"


def _decisions() -> str:
    """The list of decisions, from the first line of each."""
    lines = ["# Decisions", ""]
    lines += ["Each page states one decision: context, choice, cost, how to undo it.", ""]
    for path in sorted((ROOT / "docs" / "adr").glob("0*.md")):
        number, title = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ").split(". ", 1)
        lines.append(f"{int(number)}. [{title}]({path.name})")
    lines += ["", "[What was tried](history.md) lists attempts that did not become the design."]
    return "\n".join(lines) + "\n"


def _figures() -> dict[str, str]:
    """The pages of raw figures by name, from the records of the benchmarks."""
    sys.path.insert(0, str(ROOT))  # benchmarks is not installed with the package
    try:
        from benchmarks.table import figure_pages, read_records
    finally:
        sys.path.remove(str(ROOT))
    return figure_pages(read_records(ROOT / "benchmarks" / "results"))
