"""Compare the products' files with the checksums in their manifests before anything is decoded."""

import logging
from dataclasses import replace

from etl.extract.inputs import ExtractionInputs
from etl.mpi import Comm
from etl.source.inspection import compare_files, describe_checks, without_damage

__all__ = ["check_files"]

log = logging.getLogger("etl.extract")


def check_files(inputs: ExtractionInputs, comm: Comm) -> ExtractionInputs:
    """Collective: the inputs, in which products with damaged files have the damage as their problem.

    A product with a damaged scene classification alone is used without it.
    """
    before = inputs.inspections
    checks = compare_files([inspection.product for inspection in before], comm)
    after = [without_damage(inspection, check) for inspection, check in zip(before, checks, strict=True)]
    if comm.rank == 0:
        for inspection, check in zip(after, checks, strict=True):
            if check.unusable:
                log.warning("%s; its files are not checked", check.unusable)
            if check.damaged and not inspection.problem:
                log.warning("%s; cloud and snow shares are left out", *check.damaged.values())
        damaged = sum(len(check.damaged) for check in checks)
        opened = [check for inspection, check in zip(before, checks, strict=True) if inspection.product]
        log.info("%s: %s damaged", describe_checks(opened), damaged or "none")
    return replace(inputs, inspections=after)
