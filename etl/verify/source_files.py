"""Compare the files of the products that rows come from with the checksums in the products' manifests."""

from collections.abc import Sequence

from etl.bucket_files import can_exist
from etl.mpi import Comm
from etl.product_files import ProductError
from etl.source.inspection import compare_files, describe_checks
from etl.source.open_product import read_product
from etl.source.product import Product
from etl.verify.check import Check, Faults, judge
from etl.verify.pixels import SourceRow

__all__ = ["check_source_files"]


def check_source_files(rows: Sequence[SourceRow], comm: Comm) -> Check:
    """Collective: compare each file of the products of `rows`, which rank 0 has, with its checksum, on one rank."""
    products = comm.bcast(_readable_products(rows))
    checks = compare_files(products, comm)
    if not any(check.compared for check in checks):
        return Check(
            "source files", None, "--source has no manifest.safe with checksums of the files that rows are from"
        )
    faults = Faults()
    for check in checks:
        faults.extend(check.damaged.values())
    unusable = "".join(f"; {check.unusable}" for check in checks if check.unusable)
    return judge("source files", describe_checks(checks) + unusable, faults)


def _readable_products(rows: Sequence[SourceRow]) -> list[Product]:
    """The products of `rows`; without those that cannot be read, which comparing pixels reports."""
    products = []
    found = {(row.path, row.assume_offset, row.links) for row in rows if row.tiled and can_exist(row.path)}
    for path, assumed, links in sorted(found, key=str):
        try:
            products.append(read_product(path, assumed, links))
        except ProductError:
            continue
    return products
