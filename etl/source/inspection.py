"""Open products, and compare their files with the checksums in their manifests, on all ranks, before any decoding."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from etl.input_files import Links
from etl.mpi import Comm
from etl.plan.layers import Layer
from etl.plural import counted
from etl.product_files import ProductError, product_errors
from etl.progress import report_progress
from etl.source.content import (
    READ_ERRORS,
    UNREADABLE,
    FileContent,
    ProductContent,
    ReadFile,
    digests_of,
    kinds_to_read,
    read_files,
)
from etl.source.file_checksums import FileChecksum, foreign_manifest, needed_checksums, wrong_file
from etl.source.open_product import read_product
from etl.source.product import Product
from etl.source.tiles import layers_of
from etl.source.unit_guard import UnitError, UnitGuard
from etl.source.warning import SourceWarning

__all__ = [
    "DigestRequest",
    "FileCheck",
    "ProductInspection",
    "compare_files",
    "describe_checks",
    "digest_files",
    "inspect_product",
    "without_damage",
]


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
    path: Path,
    name: str,
    halo_px: Sequence[int],
    assume_offset: int | None,
    links: Links,
    guard: UnitGuard | None = None,
) -> ProductInspection:
    """Read the metadata of a product, and open all its files; whatever goes wrong becomes its problem.

    `halo_px`: halo of each group in pixels; `assume_offset` and `links`: as of `read_product`; `guard` limits the time.
    """

    def inspect() -> ProductInspection:
        product = read_product(path, assume_offset, links)
        with product_errors(path):
            layers, warnings = layers_of(product, halo_px)
        return ProductInspection(path, name, product, layers, warnings=product.warnings + warnings)

    try:
        return (guard or UnitGuard()).run("opening", str(path), inspect)
    except (ProductError, UnitError) as error:
        return ProductInspection(path, name, problem=str(error))


@dataclass(frozen=True, slots=True)
class DigestRequest:
    """Which digests of files are wanted."""

    compare: bool = True
    """Whether the files are compared with the checksums in the products' manifests."""

    record: bool = False
    """Whether a digest of every file is wanted, for the journal."""

    known: Mapping[str, Sequence[ProductContent]] = field(default_factory=dict)
    """What the journal says of the files, by product name, one item for each copy; needed on rank 0 alone.

    A file whose size and time are as there is not read again."""

    guard: UnitGuard = field(default_factory=UnitGuard)
    """Limits the time for a file."""


@dataclass(frozen=True, slots=True)
class _FileTask:
    """A file to be read by one rank, and the kinds of digests wanted of it."""

    product: int
    """Number of its product."""

    file: ReadFile
    kinds: tuple[str, ...]
    """Empty if all that is needed of it is known."""

    expected: FileChecksum | None
    """Its checksum in the manifest, if that is to be compared."""


def compare_files(products: Sequence[Product | None], comm: Comm) -> list[FileCheck]:
    """Collective: hash each file of the products that extraction reads once, on one of the ranks.

    Returns, on every rank, one result for each of `products`; None stands for a product that cannot be used.
    """
    return digest_files(products, comm, DigestRequest())[0]


def digest_files(
    products: Sequence[Product | None], comm: Comm, request: DigestRequest
) -> tuple[list[FileCheck], list[ProductContent]]:
    """Collective: as `compare_files`; and on rank 0 the content of each of `products`, elsewhere nothing.

    The content is empty for None, and for a product whose files cannot be read.
    """
    root, known = comm.rank == 0, [request.known.get(product.name, ()) if product else () for product in products]
    own_known = comm.scatter([known[rank :: comm.size] for rank in range(comm.size)] if root else None)
    own = list(range(comm.rank, len(products), comm.size))
    parts = comm.gather([_tasks(k, products[k], item, request) for k, item in zip(own, own_known, strict=True)]) or []
    tasks = [task for part in parts for of_product, _ in part for task in of_product]
    problems = {k: problem for rank, part in enumerate(parts) for k, problem in _problems(rank, part, comm.size)}
    largest_first = sorted((task for task in tasks if task.kinds), key=lambda task: -task.file.content.size_bytes)
    to_read = comm.scatter([largest_first[rank :: comm.size] for rank in range(comm.size)] if root else None)
    answers = comm.gather(_read(to_read, request.guard, comm)) or []
    read = {(file.product, file.name): answer for part in answers for file, answer in part}
    contents: list[dict[str, FileContent]] = [{} for _ in products if root]
    checks: list[dict[FileChecksum, str]] = [{} for _ in products]
    for task in tasks:
        content, error = read.get((task.file.product, task.file.name), (task.file.content, ""))
        contents[task.product][task.file.holds] = content
        if task.expected is not None:
            checks[task.product][task.expected] = wrong_file(task.expected, content.digests, error)
    results = [_judge(checks[k], problems.get(k, "")) for k in range(len(products))] if root else None
    return comm.bcast(results), list(contents)


def _problems(rank: int, part: Sequence[tuple[object, str]], size: int) -> Iterator[tuple[int, str]]:
    """(number of the product, why its manifest cannot be used) of the products that a rank looked at."""
    for k, (_, problem) in enumerate(part):
        yield k * size + rank, problem


def _tasks(
    number: int, product: Product | None, known: Sequence[ProductContent], request: DigestRequest
) -> tuple[list[_FileTask], str]:
    """Files of the product with this number that are read; and why its manifest cannot be used, if so."""
    if product is None:
        return [], ""
    checksums, problem = dict[str, FileChecksum](), ""
    run, unit = request.guard.run, str(product.path)
    if request.compare:
        try:
            listed = run("reading manifest.safe of", unit, lambda: needed_checksums(product))
            checksums = {checksum.name: checksum for checksum in listed}
        except (ProductError, UnitError) as error:
            problem = str(error)
    if not (checksums or request.record):
        return [], problem
    try:
        sampled = request.record and not request.compare
        files = run("listing files of", unit, lambda: read_files(product, sampled=sampled))
    except (ProductError, UnitError) as error:
        return [], problem or str(error)
    tasks = []
    for file in files:
        expected, content = checksums.get(file.name), file.content
        before = [item[file.holds] for item in known if file.holds in item]
        for item in before:
            if item[:2] == content[:2]:
                content = content._replace(digests=tuple(dict.fromkeys((*item.digests, *content.digests))))
        kind = expected.checksum_name if expected else ""
        kinds = kinds_to_read(content, before, kind, record=request.record)
        tasks.append(_FileTask(number, replace(file, content=content), tuple(kinds), expected))
    return tasks, problem


def _read(tasks: Sequence[_FileTask], guard: UnitGuard, comm: Comm) -> list[tuple[ReadFile, tuple[FileContent, str]]]:
    """Each file with its content, all its digests included, and why it cannot be read."""
    answers = []
    with report_progress("check files", len(tasks), "file", comm.rank == 0) as show:
        for k, task in enumerate(tasks, start=1):
            file, content, error = task.file, task.file.content, ""
            try:
                read = partial(digests_of, file, task.kinds)
                # a product that hangs here is refused as a whole
                digests = guard.run(f"reading {file.name} for its checksum in", str(file.product), read)
            except (*READ_ERRORS, UnitError) as problem:
                digests, error = (UNREADABLE,), str(problem)
            answers.append((file, (content._replace(digests=(*digests, *content.digests)), error)))
            show(k)
    return answers


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
