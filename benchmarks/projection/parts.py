"""The measured parts of a projection, from the kept records of the benchmarks, each with date, machine and figure."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.findings import Skipped
from etl.schema import Schema

__all__ = ["PAPER_RATE", "RECORDS", "Part", "Parts", "read_parts"]

RECORDS = Path(__file__).resolve().parents[1] / "results"

_TILE_PATCHES = 8281
"""Patches of the full tile that the records `extract` and `superres` extract."""

_EPOCHS = 3
"""Epochs of each run of the record `scale`."""

_RANK_0_STEPS = ("read_catalogue", "place_patches", "initial_columns", "create_store", "plan_1024_ranks")
"""Steps of the record `large_store` between the start of rank 0 and the first block."""


@dataclass(frozen=True, slots=True)
class Part:
    """A number that a projection is made of."""

    name: str
    """What it is, with its unit."""

    value: float

    source: str
    """Record and machine of a measured one; for others who says so."""

    measured: bool = True
    """Whether a kept record of this project has it."""


PAPER_RATE = Part("patches/s of one GPU", 194.0, "published: Sedona et al. 2019, ResNet-50 on a V100", measured=False)
"""What the paper's GPUs reached on one node: 347 s for 269,695 patches on four."""


@dataclass(frozen=True, slots=True)
class Parts:
    """All measured parts; seconds are those of one core of the records' machine."""

    decode_s: Part
    """Seconds to decode a full product once."""

    patch_s: Part
    """Seconds of all else, for one patch: upsampling, sums, writing."""

    dsen2_s: Part
    """Seconds that DSen2 takes for one patch."""

    product_bytes: Part
    """Bytes of a product's image files."""

    extract_start_s: Part
    """Seconds from the start of a rank to its first block, and after its last."""

    loader_s: Part
    """Seconds of a core to load one patch of twelve bands."""

    statistics_bytes_s: Part
    """Bytes of a store that one core of etl.stats counts in a second."""

    train_s: Part
    """Seconds to train on one patch on a core, without a GPU."""

    train_start_s: Part
    """Seconds from the start of a worker to its first step: imports, tracing of the graph."""

    catalogue_s: Part
    """Seconds to write the catalogue, for one patch."""

    plan_s: Part
    """Seconds of rank 0 to read the catalogue, create the store and plan, for one patch."""

    inefficiency: Mapping[float, float]
    """By ranks for each product: ranks x time of the last rank / time of all work, waiting included."""

    inefficiency_source: str
    """Record and machine of it."""

    row_bytes: int
    """Bytes of a row of a store with `data_super`; exact."""

    loaded_bytes: int
    """Bytes of the twelve bands of a row that training reads; exact."""

    @property
    def single(self) -> list[Part]:
        """The parts that are single numbers."""
        values = (getattr(self, item.name) for item in fields(self))
        return [value for value in values if isinstance(value, Part)]


def read_parts(folder: Path = RECORDS) -> Parts:
    """The parts in the records of size `laptop` in `folder`.

    Raises:
        Skipped: a record is not there.
    """
    names = ("extract", "superres", "loader", "stats", "scale", "balance", "large_store")
    extract, superres, loader, stats, scale, balance, large = (_Record.read(folder, name) for name in names)
    decode_s, whole_s = (extract.figure(f"{what}_cpu_seconds_median_1_ranks") for what in ("decode", "extract"))
    dsen2_s = superres.figure("dsen2_float32_tile_core_seconds") - superres.figure("bilinear_tile_core_seconds")
    rows, schema = large.data("rows"), Schema(1)
    start_s = extract.median("extract", lambda run: run["wall_s"] - run["seconds"])
    train_start_s = scale.median("1_workers", lambda run: run["wall_s"] - _EPOCHS * run["epoch_s"])
    return Parts(
        decode_s=extract.part("s to decode a full product on one core", decode_s),
        patch_s=extract.part("s to upsample, sum and write a patch", (whole_s - decode_s) / _TILE_PATCHES),
        dsen2_s=superres.part("s of DSen2 on a patch", dsen2_s / _TILE_PATCHES),
        product_bytes=extract.part("bytes of a full product's images", extract.data("source_bytes")),
        extract_start_s=extract.part("s to start and end a rank", start_s),
        loader_s=loader.part(
            "s of a core to load a patch of twelve bands",
            loader.figure("warm_ours_hdf5_cpu_milliseconds_a_patch_median") / 1000,
        ),
        statistics_bytes_s=stats.part(
            "bytes/s of a store that a thread counts", stats.data("store_bytes") / stats.figure("dask_1_seconds_median")
        ),
        train_s=scale.part(
            "s to train on a patch on one core", scale.figure("epoch_1_workers_seconds_median") / scale.data("rows")
        ),
        train_start_s=scale.part("s to start a worker", train_start_s),
        catalogue_s=large.part(
            "s to sort and write a row of the catalogue", _cpu_s(large, ("write_catalogue",)) / rows
        ),
        plan_s=large.part("s of rank 0 for a patch before the first block", _cpu_s(large, _RANK_0_STEPS) / rows),
        inefficiency=balance.inefficiency(),
        inefficiency_source=balance.source,
        row_bytes=schema.row_bytes,
        loaded_bytes=int(np.prod(schema.pixels[-1].row_shape)) * np.dtype(schema.pixels[-1].dtype).itemsize,
    )


def _cpu_s(large: "_Record", steps: Sequence[str]) -> float:
    return sum(large.figure(f"{step}_cpu_seconds") for step in steps)


@dataclass(frozen=True, slots=True)
class _Record:
    """One kept record."""

    name: str
    content: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path, name: str) -> "_Record":
        path = folder / f"{name}.laptop.json"
        if not path.exists():
            raise Skipped(f"{path} must be there; python -m benchmarks {name} --size laptop makes it")
        return cls(name, json.loads(path.read_text(encoding="utf-8")))

    @property
    def source(self) -> str:
        """Record, day and machine."""
        host = self.content["host"]
        return f"{self.name}, {self.content['started'][:10]}, {host['cores']} cores of {host['cpu']}"

    def figure(self, name: str) -> float:
        """One of its figures."""
        return float(self.content["figures"][name])

    def data(self, name: str) -> float:
        """A number that says what data it is about."""
        return float(self.content["data"][name])

    def part(self, name: str, value: float) -> Part:
        """A part that is computed from its figures."""
        return Part(name, value, self.source)

    def median(self, run: str, value: Callable[[Mapping[str, Any]], float]) -> float:
        """Median of a value of its single runs with this name; of the fewest ranks, if they differ in that."""
        runs = [repeat for repeat in self.content["repeats"] if repeat["run"] == run]
        fewest = min(repeat.get("ranks", 1) for repeat in runs)
        return median(value(repeat) for repeat in runs if repeat.get("ranks", 1) == fewest)

    def inefficiency(self) -> dict[float, float]:
        """Inefficiency by ranks for each product, ascending."""
        start = "inefficiency_all_work_with_waiting_cost_"
        found = {
            int(name.removeprefix(start).split("_")[0]) / self.data("tiles"): value
            for name, value in self.content["figures"].items()
            if name.startswith(start)
        }
        return dict(sorted(found.items()))
