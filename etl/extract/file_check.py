"""Compare the products' files with the checksums in their manifests, on all ranks, before anything is decoded."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from etl.extract.candidates import ProductInspection
from etl.extract.inputs import ExtractionInputs
from etl.mpi import Comm
from etl.product_files import ProductError
from etl.progress import report_progress
from etl.source.file_checksums import FileChecksum, foreign_manifest, needed_checksums, wrong_file
from etl.source.safe import Product

__all__ = ["FileCheck", "check_files", "compare_files", "describe_checks"]

log = logging.getLogger("etl.extract")


@dataclass(frozen=True, slots=True)
class FileCheck:
    """Files of one product, compared with the checksums in its manifest."""

    compared: int = 0
    """Number of files compared; 0 if there is no product or no manifest."""

    damaged: dict[str, str] = field(default_factory=dict)
    """Why files are damaged, by their path within the product."""

    unusable: str = ""
    """Why the manifest says nothing about the files; empty if it does, or if there is none."""


def check_files(inputs: ExtractionInputs, comm: Comm) -> ExtractionInputs:
    """Collective: the inputs, in which products with damaged files have the damage as their problem.

    A product with a damaged scene classification alone is used without it.
    """
    checks = compare_files([inspection.product for inspection in inputs.inspections], comm)
    pairs = list(zip(inputs.inspections, checks, strict=True))
    if comm.rank == 0:
        _log_checks([check for inspection, check in pairs if inspection.product])
    return replace(inputs, inspections=[_without_damage(inspection, check, comm.rank) for inspection, check in pairs])


def compare_files(products: Sequence[Product | None], comm: Comm) -> list[FileCheck]:
    """Collective: hash each file of the products that extraction reads once, on one of the ranks.

    Returns, on every rank, one result for each of `products`; None stands for a product that cannot be used.
    """
    # each rank reads the manifests of every size-th product
    parts = comm.allgather([_expected(product) for product in products[comm.rank :: comm.size]])
    expected = [parts[k % comm.size][k // comm.size] for k in range(len(products))]
    every = dict.fromkeys(file for files, _ in expected for file in files)  # a product may serve two listed ones
    largest_first = sorted(every, key=lambda file: -file.size_bytes)
    own = largest_first[comm.rank :: comm.size]
    answers = []
    with report_progress("check files", len(own), "file", comm.rank == 0) as show:
        for k, file in enumerate(own, start=1):
            answers.append((file, wrong_file(file)))
            show(k)
    wrong = dict(answer for part in comm.allgather(answers) for answer in part)
    return [_judge({file: wrong[file] for file in files}, problem) for files, problem in expected]


def _expected(product: Product | None) -> tuple[list[FileChecksum], str]:
    """Checksums of the files of a product that are read; or none, and why its manifest cannot be used."""
    try:
        return (needed_checksums(product) if product else []), ""
    except ProductError as error:
        return [], str(error)


def _judge(wrong: dict[FileChecksum, str], problem: str) -> FileCheck:
    """The result for one product; `wrong`: answers of `wrong_file`."""
    unusable = problem or foreign_manifest(wrong)
    if unusable:
        return FileCheck(unusable=unusable)
    return FileCheck(len(wrong), {file.name: text for file, text in wrong.items() if text})


def _without_damage(inspection: ProductInspection, check: FileCheck, rank: int) -> ProductInspection:
    """A product with its damage as problem; or without its scene classification, if that alone is damaged."""
    product = inspection.product
    if product is None or not check.damaged:
        return inspection
    serious = [text for name, text in check.damaged.items() if not _is_scene_classification(product, name)]
    if serious:
        more = f" (and {len(serious) - 1} more files)" if len(serious) > 1 else ""
        return replace(inspection, problem=serious[0] + more)
    if rank == 0:
        log.warning("%s; cloud and snow shares are left out", *check.damaged.values())
    files = {band: path for band, path in product.files.items() if band != "SCL"}
    layers = tuple(layer for layer in inspection.layers if layer.name != "scl")
    return replace(inspection, product=replace(product, files=files), layers=layers)


def _is_scene_classification(product: Product, name: str) -> bool:
    return product.files.get("SCL", "").endswith(f"/{name}")


def describe_checks(checks: Sequence[FileCheck]) -> str:
    """How many files of how many products were compared, and what was not."""
    products, files = sum(check.compared > 0 for check in checks), sum(check.compared for check in checks)
    left_out = len(checks) - products
    return f"{files} files of {products} {'product' if products == 1 else 'products'} compared with manifest.safe" + (
        f"; {left_out} without checksums" if left_out else ""
    )


def _log_checks(checks: Sequence[FileCheck]) -> None:
    """Say on rank 0 what was compared, and what could not be."""
    for check in checks:
        if check.unusable:
            log.warning("%s; its files are not checked", check.unusable)
    damaged = sum(len(check.damaged) for check in checks)
    log.info("%s: %s damaged", describe_checks(checks), damaged or "none")
