"""Make the table of bars in `benchmarks/README.md` from the JSON records: one line per question."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["BAR_ROWS", "BarRow", "bar_cells", "bar_table", "number_text"]


@dataclass(frozen=True, slots=True)
class BarRow:
    """One line of the table: figures with the same bar, of which the worst is shown.

    `*` in `figures` matches the part of the name in which they differ; in the other texts it is replaced by that part
    of the worst figure's name. `{name:format}` is the value of a figure of the record.
    """

    scenario: str
    """Name of the scenario; the line links to its section."""

    question: str
    """Short name of what the figures answer."""

    figures: str
    """Pattern of the names of the figures."""

    reached: str = ""
    """Value that this project reached."""

    peer: str = ""
    """Best peer when the record was made, with its value."""

    case: str = "*"
    """Words for the part of the name that `*` matches."""

    def case_of(self, figure: str) -> str | None:
        """The part of a figure's name that `*` matches; None if the name does not match."""
        before, star, after = self.figures.partition("*")
        match = re.fullmatch(re.escape(before) + ("(.+)" if star else "()") + re.escape(after), figure)
        return match[1] if match else None


BAR_ROWS = (
    BarRow(
        "extract",
        "Full tile: time over decoding alone",
        "extract_over_decode_*_ratio_median",
        "{extract_seconds_median_*:.1f} s",
        "GDAL decodes each block once: {decode_seconds_median_*:.1f} s",
    ),
    BarRow(
        "archive",
        "Patch folder: rate over reading alone",
        "archive_over_read_bilinear_*_ratio_median",
        "{archive_patches_per_second_median_bilinear_*:,.0f} patches/s",
        "GDAL reads: {read_patches_per_second_median_bilinear_*:,.0f} patches/s",
    ),
    BarRow("memory", "Peak memory of a busy rank, MiB", "peak_resident_largest_*_mib"),
    BarRow("memory", "Peak memory of an idle rank, MiB", "idle_peak_resident_largest_*_mib"),
    *(
        BarRow(
            "balance",
            f"Time of the busiest of {ranks:,} ranks over the mean",
            f"inefficiency_*_cost_{ranks}_ranks",
            peer=f"the paper's Algorithm 1: {{inefficiency_*_paper_{ranks}_ranks:.2f}}",
        )
        for ranks in (72, 256, 1024)
    ),
    BarRow(
        "ranks",
        "Extraction together: speed over independent copies",
        "*_over_copies_ratio_median",
        "{together_*_seconds_median:.1f} s, one tile",
        "as many copies: {copies_*_seconds_median:.1f} s, a tile each",
    ),
    BarRow("superres", "DSen2, float32: time over its networks alone", "dsen2_over_networks_float32_*_ratio_median"),
    BarRow(
        "superres",
        "DSen2, float32: CPU time over its networks alone",
        "dsen2_cpu_over_networks_cpu_float32_*_ratio_median",
        "{dsen2_float32_*_cpu_seconds_median:.1f} s",
        "networks: {networks_float32_*_cpu_seconds_median:.1f} s",
    ),
    *(
        BarRow(
            "superres",
            f"DSen2: error of {gsd_m} m bands (RMSE)",
            f"rmse_{gsd_m}m_dsen2_counts",
            peer=f"bicubic: {{rmse_{gsd_m}m_bicubic_counts:.1f}}",
        )
        for gsd_m in (20, 60)
    ),
    BarRow(
        "write",
        "Collective HDF5: rate over MPI-IO",
        "hdf5_over_mpi_collective_*_ratio_median",
        peer="MPI-IO, the same bytes",
    ),
    BarRow(
        "write",
        "Collective HDF5: rate over `pwrite`",
        "hdf5_collective_over_pwrite_*_ratio_median",
        peer="`pwrite`: {pwrite_*_mib_per_second_median:,.0f} MiB/s",
    ),
    BarRow(
        "zarr",
        "Uncompressed Zarr: write rate over HDF5",
        "zarr_none_over_hdf5_*_ratio_median",
        "{zarr_none_*_mib_per_second_median:,.0f} MiB/s",
        "collective HDF5: {hdf5_collective_*_mib_per_second_median:,.0f} MiB/s",
    ),
    BarRow(
        "loader",
        "Loader, cached: rate over a tf.data generator",
        "warm_ours_over_generator_ratio_median",
        "{warm_ours_hdf5_patches_per_second_median:,.0f} patches/s",
        "h5py, patch by patch: {warm_generator_patches_per_second_median:,.0f} patches/s",
    ),
    BarRow(
        "loader",
        "Loader, cached: rate over the best peer",
        "warm_ours_over_best_peer_ratio_median",
        "{warm_ours_hdf5_patches_per_second_median:,.0f} patches/s",
        "TensorStore: {warm_tensorstore_patches_per_second_median:,.0f} patches/s",
    ),
    BarRow(
        "loader",
        "Loader, cached: rate over copying memory",
        "warm_ours_over_copy_ratio_median",
        "{warm_ours_hdf5_patches_per_second_median:,.0f} patches/s",
        "one thread that copies: {warm_copied_patches_per_second_median:,.0f} patches/s",
    ),
    BarRow(
        "loader",
        "Loader, cached Zarr shards: rate over the best peer",
        "warm_zarr_over_best_reader_of_the_same_shards_ratio_median",
        "{warm_ours_zarr_patches_per_second_median:,.0f} patches/s",
        "TensorStore: {warm_tensorstore_patches_per_second_median:,.0f} patches/s",
    ),
    BarRow(
        "loader",
        "Loader, cached compressed Zarr shards: rate over the best peer",
        "warm_zarr_zstd_over_best_reader_of_the_same_shards_ratio_median",
        "{warm_ours_zstd_patches_per_second_median:,.0f} patches/s",
        "TensorStore: {warm_tensorstore_zstd_patches_per_second_median:,.0f} patches/s",
    ),
    BarRow(
        "loader",
        "From disk, shuffled: rate over the best peer",
        "cold_at_random_ours_over_best_peer_at_random_ratio_median",
        "{cold_ours_hdf5_at_random_patches_per_second_median:,.0f} patches/s",
        "TensorStore: {cold_tensorstore_at_random_patches_per_second_median:,.0f} patches/s",
    ),
    BarRow(
        "loader",
        "From disk, in file order: rate over the best peer",
        "cold_in_order_ours_over_best_peer_in_order_ratio_median",
        "{cold_ours_hdf5_in_order_patches_per_second_median:,.0f} patches/s",
        "MosaicML Streaming: {cold_mosaicml_in_order_patches_per_second_median:,.0f} patches/s",
    ),
    BarRow(
        "feed",
        "Number of GPUs (194 patches/s each) kept 90 % busy, at most 8 tried",
        "gpus_fed_of_194_patches_a_second_count",
    ),
    BarRow(
        "stats",
        "`etl.stats`: time over a plain numpy pass",
        "stats_over_plain_dask_*_ratio_median",
        "{dask_*_seconds_median:.2f} s",
        "numpy: {plain_seconds_median:.2f} s",
        case="threads: *",
    ),
    BarRow(
        "train",
        "Training step: time over Keras's `model.fit`",
        "step_over_keras_ratio_median",
        "{step_ours_beside_keras_seconds_median:.3f} s",
        "Keras: {step_keras_seconds_median:.3f} s",
    ),
    BarRow(
        "scale",
        "Training together: speed over independent copies",
        "*_over_copies_ratio_median",
        "{epoch_*_seconds_median:.1f} s an epoch",
        "as many copies at the same time",
    ),
    BarRow(
        "learn",
        "Micro-F1 of twelve bands minus the regression's",
        "f1_micro_all_above_logistic_*",
        "{f1_micro_all_*:.3f}",
        "logistic regression on band means: {f1_micro_logistic_*:.3f}",
        case="thresholds *",
    ),
    BarRow(
        "learn",
        "Micro-F1 of twelve bands minus RGB's: lower end of the 95 % interval",
        "f1_micro_all_above_rgb_*_interval_low",
        "{f1_micro_all_*:.3f}",
        "RGB: {f1_micro_rgb_*:.3f}",
        case="thresholds *",
    ),
    BarRow(
        "seeds",
        "Micro-F1 of the trainer's loop minus that of Keras's `model.fit`, mean over seeds",
        "f1_micro_above_keras_mean",
        "{f1_micro_ours_mean:.3f}",
        "Keras: {f1_micro_keras_mean:.3f}",
    ),
    BarRow(
        "seeds",
        "The same: upper end of the 95 % interval",
        "f1_micro_above_keras_interval_high",
    ),
    BarRow(
        "sources",
        "Quarter of a tile in a bucket: bytes fetched over those needed",
        "fetched_over_needed_bytes_later_ratio",
        peer="its blocks: {needed_mib:.0f} MiB",
    ),
    BarRow(
        "sources",
        "Quarter of a tile in a bucket: requests over three a file and one a run of blocks",
        "image_requests_over_allowed_ratio",
        "{image_requests_later_count:,.0f} requests",
    ),
    BarRow(
        "sources",
        "Tile in a bucket: CPU time over that from the disk",
        "*_cpu_over_disk_cpu_ratio_median",
        "{*_cpu_seconds_median:.1f} s",
        "from the disk: {disk_cpu_seconds_median:.1f} s",
    ),
    BarRow(
        "sources",
        "Tile in Zarr: CPU time beside decoding over that of JPEG 2000",
        "zarr_beside_decoding_over_disk_ratio_median",
        "{zarr_beside_decoding_cpu_seconds_median:.1f} s",
        "JPEG 2000: {disk_beside_decoding_cpu_seconds_median:.1f} s",
    ),
    BarRow("sources", "Tile in Zarr: peak memory of a rank, MiB", "zarr_peak_resident_largest_mib"),
    BarRow("large_store", "Peak memory of rank 0 for 10 million patches, MiB", "rank_0_peak_mib"),
    BarRow(
        "projection",
        "Projected epochs: largest error",
        "paper_largest_error_share",
        peer="the paper's own epochs on 8 to 24 nodes",
    ),
)
"""Lines of the table, in order."""


def bar_table(records: Sequence[Mapping[str, Any]]) -> str:
    """The table in Markdown, with one line per question; bars that match no line of `BAR_ROWS` come last."""
    lines = ["| question | this project | best peer | result | bar | met |", "|---|---|---|---:|---|---|"]
    for row in BAR_ROWS:
        lines += (_line(row, record) for record in records if _bars_of(row, record))
    for record in records:
        lines += (
            _line(BarRow(record["benchmark"], f"`{bar['figure']}`", bar["figure"]), record) for bar in _unnamed(record)
        )
    return "\n".join(lines)


def bar_cells(bar: Mapping[str, Any]) -> tuple[str, str]:
    """Two cells of the table: the limit, and whether it is met."""
    aim = f" (aim {bar['aim']:g})" if bar["aim"] is not None else ""
    return f"{'>=' if bar['at_least'] else '<='} {bar['limit']:g}{aim}", "yes" if bar["met"] else "**no**"


def number_text(value: float) -> str:
    """A number with four digits; without decimals from 100."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4g}"


def _bars_of(row: BarRow, record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if record["benchmark"] != row.scenario:
        return []
    return [bar for bar in record["bars"] if row.case_of(bar["figure"]) is not None]


def _unnamed(record: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    named = [bar for row in BAR_ROWS for bar in _bars_of(row, record)]
    return (bar for bar in record["bars"] if bar not in named)


def _line(row: BarRow, record: Mapping[str, Any]) -> str:
    bars = _bars_of(row, record)
    # the sign turns "at least" into "at most", so that the largest is the worst
    worst = max(bars, key=lambda bar: -bar["value"] if bar["at_least"] else bar["value"])
    case = row.case_of(worst["figure"]) or ""
    asked, met = bar_cells(worst)
    missed = sum(not bar["met"] for bar in bars)
    if missed and len(bars) > 1:
        met = f"**no** ({missed} of {len(bars)})"
    question = f"[{row.question}](#{row.scenario})"
    if case:
        worst_of = f"worst of {len(bars)}: " if len(bars) > 1 else ""
        question += f" ({worst_of}{_words(row.case.replace('*', case))})"
    if record["size"] != "laptop":
        question += f", {record['size']}"
    texts = (_filled(text.replace("*", case), record["figures"]) for text in (row.reached, row.peer))
    return f"| {question} | {' | '.join(texts)} | {number_text(worst['value'])} | {asked} | {met} |"


def _filled(text: str, figures: Mapping[str, float]) -> str:
    try:
        return text.format_map(figures) or "-"
    except KeyError:  # a peer that was not installed
        return "not measured"


def _words(case: str) -> str:
    """A part of a figure's name as text."""
    return re.sub(r"\b1 (rank|worker)s", r"1 \1", case.replace("_", " "))
