"""Compare the products' files with the checksums in their manifests, and digest them, before anything is decoded."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from etl.extract.inputs import CatalogueSelection, ExtractionInputs
from etl.mpi import Comm, RootOnly
from etl.source.inspection import (
    DigestRequest,
    FileCheck,
    ProductInspection,
    describe_checks,
    digest_files,
    without_damage,
)
from etl.store.journal import journal_location, read_contents

__all__ = ["check_files"]

log = logging.getLogger("etl.extract")


def check_files(
    inputs: ExtractionInputs, selection: RootOnly[CatalogueSelection], comm: Comm
) -> tuple[ExtractionInputs, RootOnly[CatalogueSelection]]:
    """Collective: the inputs, in which products with damaged files have the damage as their problem; and the selection
    with the contents of all products.

    A product with a damaged scene classification alone is used without it. Without --check-files no file is compared
    with its manifest. The journal of an interrupted run tells which files need not be read again.
    """
    before, compare = inputs.inspections, inputs.settings.check_files
    known = selection.apply_on_root(
        lambda _: read_contents(journal_location(inputs.settings.out)) if inputs.settings.resume else {}
    ).value_on_root
    request = DigestRequest(compare, record=True, known=known or {}, guard=inputs.guard)
    checks, contents = digest_files([inspection.product for inspection in before], comm, request)
    after = [without_damage(inspection, check) for inspection, check in zip(before, checks, strict=True)]
    if comm.rank == 0 and compare:
        _log_checks(before, after, checks)
    inputs = replace(inputs, inspections=after)
    return inputs, selection.apply_on_root(lambda chosen: replace(chosen, contents=contents))


def _log_checks(
    before: Sequence[ProductInspection], after: Sequence[ProductInspection], checks: Sequence[FileCheck]
) -> None:
    """Log what was compared and what is damaged."""
    for inspection, check in zip(after, checks, strict=True):
        if check.unusable:
            log.warning("%s; its files are not checked", check.unusable)
        if check.damaged and not inspection.problem:
            log.warning("%s; cloud and snow shares are left out", *check.damaged.values())
    damaged = sum(len(check.damaged) for check in checks)
    opened = [check for inspection, check in zip(before, checks, strict=True) if inspection.product]
    log.info("%s: %s damaged", describe_checks(opened), damaged or "none")
