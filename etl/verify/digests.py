"""Compare all arrays of a complete store other than pixels with their digests."""

import numpy as np

from etl.schema import DIGESTS
from etl.store.digests import rows_of_parts, stored_digests, wrong_parts
from etl.store.reader import StoreReader
from etl.verify.check import Check, Faults, judge

__all__ = ["check_digests", "repair_advice"]


def check_digests(store: StoreReader) -> Check:
    """Compare each array with the digests of its parts."""
    try:
        complete = store.complete
    except ValueError as error:
        return Check("digests", False, str(error))
    if not complete:
        return Check("digests", None, "they are written when the store is complete")
    if DIGESTS not in store:
        return Check("digests", None, "stores of older versions, and of other programs, have none")
    faults, digests = Faults(), stored_digests(store)
    if not digests:
        faults.add(f"{DIGESTS} does not hold them")
    columns = {item.name for item in (*store.schema.identity, *store.schema.results)}
    for name, parts in wrong_parts(store).items():
        rows = np.flatnonzero(rows_of_parts(parts, store.schema.rows) & (name in columns)).tolist()
        where = f" among rows {rows[0]} to {rows[-1]}" if len(rows) else ""
        faults.add(f"{name}{where} is not what was written" if parts.any() else f"the copies of {name} differ")
    return judge("digests", f"{len(digests)} arrays other than pixels", faults)


def repair_advice(store: StoreReader) -> str:
    """What repairs the store if it is damaged, in words."""
    if "converted" in store.attributes or store.in_chunks:
        return "repeat the python -m etl.convert that made it"
    command = f"python -m etl.extract --out {store.location} --resume --recheck"
    return f"{command}, with the catalogue, source and settings of the first run"
