"""Open products, and compare their files with the checksums in their manifests, on all ranks, before any decoding."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from etl.input_files import Links
from etl.mpi import Comm
from etl.plan.layers import Layer
from etl.plural import counted
from etl.product_files import ProductError, product_errors
from etl.progress import report_progress
from etl.source.file_checksums import FileChecksum, foreign_manifest, needed_checksums, wrong_file
from etl.source.safe import Product, read_product
from etl.source.tiles import layers_of
from etl.source.warning import SourceWarning

__all__ = ["FileCheck", "ProductInspection", "compare_files", "describe_checks", "inspect_product", "without_damage"]


@dataclass(frozen=True, slots=True)
class ProductInspection:
    """One product on disk and its layers, or why it cannot be used; for a patch archive, a listed product."""

    path: Path | None
    """Its folder or zip file; None for a patch archive."""

    name: str
    """Its name, without .SAFE."""

    product: Product | None = None
    """None if it cannot be opened, and for a patch archive."""

    layers: tuple[Layer, ...] = ()
    """Empty if there is no product."""

    problem: str = ""
    """Why no patch of it can be extracted; empty if they can."""

    warnings: tuple[SourceWarning, ...] = ()
    """What is odd about it, but rejects no patch."""

    @property
    def shown(self) -> str:
        """Name of its folder or zip file."""
        return self.path.name if self.path else self.name


@dataclass(frozen=True, slots=True)
class FileCheck:
    """Files of one product, compared with the checksums in its manifest."""

    compared: int = 0
    """Number of files compared; 0 if there is no product or no manifest."""

    damaged: dict[str, str] = field(default_factory=dict)
    """Why files are damaged, by their path within the product."""

    unusable: str = ""
    """Why the manifest says nothing about the files; empty if it does, or if there is none."""


def inspect_product(
    path: Path, name: str, halo_px: Sequence[int], assume_offset: int | None, links: Links
) -> ProductInspection:
    """Read the metadata of a product, and open all its files; whatever goes wrong becomes its problem.

    `halo_px`: halo of each group in pixels; `assume_offset` and `links`: as of `read_product`.
    """
    try:
        product = read_product(path, assume_offset, links)
        with product_errors(path):
            layers, warnings = layers_of(product, halo_px)
        return ProductInspection(path, name, product, layers, warnings=product.warnings + warnings)
    except ProductError as error:
        return ProductInspection(path, name, problem=str(error))


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


def without_damage(inspection: ProductInspection, check: FileCheck) -> ProductInspection:
    """A product with its damage as problem; or without its scene classification, if that alone is damaged."""
    product = inspection.product
    if product is None or not check.damaged:
        return inspection
    serious = [text for name, text in check.damaged.items() if not _is_scene_classification(product, name)]
    if serious:
        more = f" (and {counted(len(serious) - 1, 'more file')})" if len(serious) > 1 else ""
        return replace(inspection, problem=serious[0] + more)
    files = {band: path for band, path in product.files.items() if band != "SCL"}
    layers = tuple(layer for layer in inspection.layers if layer.name != "scl")
    return replace(inspection, product=replace(product, files=files), layers=layers)


def _is_scene_classification(product: Product, name: str) -> bool:
    return product.files.get("SCL", "").endswith(f"/{name}")


def describe_checks(checks: Sequence[FileCheck]) -> str:
    """How many files of how many products were compared, and what was not."""
    products, files = sum(check.compared > 0 for check in checks), sum(check.compared for check in checks)
    left_out = len(checks) - products
    return f"{counted(files, 'file')} of {counted(products, 'product')} compared with manifest.safe" + (
        f"; {left_out} without checksums" if left_out else ""
    )
