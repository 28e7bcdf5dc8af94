"""What a cluster is like, read from a site file."""

import dataclasses
import difflib
import re
import tomllib
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from etl.submit.settings import JOB_NAMES

__all__ = ["JobShape", "NodeKind", "Site", "default_deploy", "load_site", "site_path"]

_TIME = re.compile(r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)")

_NAME = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class NodeKind:
    """Nodes of one kind: the table [cpu] or [gpu] of a site file."""

    cores: int
    """Cores of a node, which its ranks share."""

    gpus: int = 0
    """GPUs of a node."""

    partition: str = ""
    """Partition that has such nodes; empty for Slurm's default."""

    options: tuple[str, ...] = ()
    """Further options of sbatch, such as `--constraint=cpu`."""

    def __post_init__(self) -> None:
        _require(self.cores >= 1, "cores", "at least 1", self.cores)
        _require(self.gpus >= 0, "gpus", "at least 0", self.gpus)
        _require_options(self.options)


@dataclass(frozen=True, slots=True)
class JobShape:
    """Size of a job: a table such as [jobs.extract] of a site file."""

    time: str
    """Time limit, [days-]hours:minutes:seconds."""

    kind: str = "cpu"
    """Kind of its nodes: cpu or gpu."""

    nodes: int = 1
    """Number of nodes."""

    ranks_per_node: int = 1
    """Ranks, or workers, on each node."""

    def __post_init__(self) -> None:
        _require(self.kind in ("cpu", "gpu"), "kind", "cpu or gpu", self.kind)
        _require(self.nodes >= 1, "nodes", "at least 1", self.nodes)
        _require(self.ranks_per_node >= 1, "ranks_per_node", "at least 1", self.ranks_per_node)
        _require(bool(_TIME.fullmatch(self.time)), "time", "[days-]hours:minutes:seconds", self.time)

    @property
    def seconds(self) -> int:
        """Time limit in seconds."""
        days, hours, minutes, seconds = (int(part or 0) for part in _TIME.findall(self.time)[0])
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


@dataclass(frozen=True, slots=True)
class Site:
    """A cluster, as the site file describes it; the field names are its keys."""

    cpu: NodeKind
    """Nodes without GPUs."""

    gpu: NodeKind
    """Nodes with GPUs."""

    jobs: Mapping[str, JobShape]
    """Size of each job of a chain, and of `superres`, the extraction with DSen2."""

    launcher: str = "mpirun"
    """What starts ranks: mpirun or srun."""

    launcher_options: tuple[str, ...] = ()
    """Options of the launcher, such as `--mpi=pmix`."""

    modules: tuple[str, ...] = ()
    """Environment modules that a job loads, in this order."""

    setup: tuple[str, ...] = ()
    """Shell lines that a job runs after that."""

    python: tuple[str, ...] = ()
    """Words that start Python, such as those of a container; empty for the Python that runs etl.submit."""

    account: str = ""
    """Account that jobs are charged to."""

    needs_account: bool = False
    """Whether the cluster refuses jobs without an account."""

    options: tuple[str, ...] = ()
    """Further options of sbatch, for all jobs."""

    signal_s: int = 120
    """Seconds before the time limit at which Slurm tells a job to stop."""

    stripe: str = ""
    """Command that sets the striping of a new folder for stores, whose path is added; empty for none."""

    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of all jobs."""

    def __post_init__(self) -> None:
        _require(self.launcher in ("mpirun", "srun"), "launcher", "mpirun or srun", self.launcher)
        _require(0 < self.signal_s < 65536, "signal_s", "in [1, 65535]", self.signal_s)  # sbatch's own bound
        _require_options(self.options)
        for name in self.environment:
            _require(bool(_NAME.fullmatch(name)), "environment", "names of variables", name)
        needed = (*JOB_NAMES, "superres")
        if missing := [name for name in needed if name not in self.jobs]:
            raise ValueError(f"it must have a table [jobs.{missing[0]}]")
        for name, shape in self.jobs.items():
            if name not in needed:
                raise ValueError(f"[jobs.{name}] is no job of a chain{_nearest(name, needed)}")
            if shape.seconds <= self.signal_s:
                raise ValueError(f"[jobs.{name}] time must exceed signal_s, {self.signal_s} s, got {shape.time}")

    def nodes_of(self, shape: JobShape) -> NodeKind:
        """Kind of the nodes that a job of this shape runs on."""
        return self.gpu if shape.kind == "gpu" else self.cpu


def default_deploy() -> Path:
    """The folder deploy/ beside the package, which a checkout has and an installed wheel has not."""
    return Path(__file__).resolve().parents[2] / "deploy"


def site_path(name: str, deploy: Path) -> Path:
    """The site file called `name`, of deploy/sites/, or of that path."""
    return Path(name).expanduser() if name.endswith(".toml") else deploy / "sites" / f"{name}.toml"


def load_site(name: str, deploy: Path) -> Site:
    """The site called `name`, of deploy/sites/, or in the file of that path.

    Raises:
        ValueError: there is no such file, or it is not a site file; names the file and the key.
    """
    path = site_path(name, deploy)
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(sorted(file.stem for file in (deploy / "sites").glob("*.toml"))) or "none"
        raise ValueError(f"--site must be {known} or the path of a .toml file, {path} is not there") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} must be valid TOML, in UTF-8: {error}") from None
    tables.pop("hardware", None)  # rates of its parts, for projections
    try:
        jobs = tables.pop("jobs", {})
        _require(isinstance(jobs, dict), "jobs", "tables", jobs)
        tables["jobs"] = {key: _filled(JobShape, f"[jobs.{key}]", table) for key, table in jobs.items()}
        for kind in ("cpu", "gpu"):
            tables[kind] = _filled(NodeKind, f"[{kind}]", tables.get(kind, {}))
        site: Site = _filled(Site, "the file", tables)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return site


def _filled(cls: type[Any], where: str, table: object) -> Any:
    """An object of a dataclass from the table of a file; its keys are the fields."""
    if not isinstance(table, dict):
        raise ValueError(f"{where} must be a table, got {table!r}")
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in hints:
            raise ValueError(f"{where} has an unknown key {key!r}{_nearest(key, hints)}")
        values[key] = _checked(f"{where}: {key}", value, hints[key])
    for item in dataclasses.fields(cls):
        has_default = item.default is not dataclasses.MISSING or item.default_factory is not dataclasses.MISSING
        if item.name not in values and not has_default:
            raise ValueError(f"{where} must have the key {item.name}")
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}" if where.startswith("[") else str(error)) from None


def _checked(where: str, value: object, kind: Any) -> object:
    """A value of a file, which must be of the type that the field has."""
    if kind is bool or kind is int:
        _require(type(value) is kind, where, "true or false" if kind is bool else "a whole number", value)
    elif kind is str:
        _require(_is_text(value), where, "a text in one line", value)
    elif typing.get_origin(kind) is tuple:
        texts = value if isinstance(value, list) else [None]
        _require(all(_is_text(text) for text in texts), where, "a list of texts in one line each", value)
        return tuple(texts)
    elif typing.get_args(kind) == (str, str):
        texts = list(value.values()) if isinstance(value, dict) else [None]
        _require(all(_is_text(text) for text in texts), where, "a table of texts", value)
    return value


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not any(letter < " " for letter in value)


def _require(good: bool, key: str, needed: str, value: object) -> None:
    if not good:
        raise ValueError(f"{key} must be {needed}, got {value!r}")


def _require_options(options: tuple[str, ...]) -> None:
    for option in options:
        _require(option.startswith("-"), "options", "options of sbatch, such as --exclusive", option)


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; the known ones are {', '.join(known)}"
