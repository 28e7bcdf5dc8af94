"""Write the licence of every locked package that is installed here to licences.csv: `make lock`."""

import csv
import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

DEPLOY = Path(__file__).parent

STATED_ELSEWHERE = {
    "hdf5plugin": "MIT; its compression filters have others",
    "mlcroissant": "Apache-2.0",
    "namex": "Apache-2.0",
    "setuptools": "MIT",
}
"""Licences that packages state in their LICENSE files alone."""


def locked_names() -> list[str]:
    """Names of the packages in the lock files, sorted."""
    text = "\n".join(path.read_text() for path in DEPLOY.glob("*.lock"))
    return sorted(set(re.findall(r"^([a-z0-9-]+)(?:\[.*\])?==", text, re.MULTILINE)))


def licence_of(package: Distribution) -> str:
    """Licence as the package's metadata state it: an SPDX expression, else classifiers, else a line of text."""
    metadata = package.metadata
    classes = [text.rpartition(" :: ")[2] for text in metadata.get_all("Classifier", []) if text.startswith("License")]
    text = (metadata.get("License") or "").strip().partition("\n")[0]
    return metadata.get("License-Expression") or "; ".join(classes) or text


def main() -> None:
    """Write the list, and refuse a package without a licence."""
    rows = []
    for name in locked_names():
        try:
            rows.append((name, STATED_ELSEWHERE.get(name) or licence_of(distribution(name))))
        except PackageNotFoundError:
            continue  # of another system, Python or kind of TensorFlow
    missing = [name for name, licence in rows if not licence]
    if missing:
        raise SystemExit(f"{', '.join(missing)}: no licence in the metadata; add it to STATED_ELSEWHERE")
    with (DEPLOY / "licences.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("package", "licence"), *rows])


if __name__ == "__main__":
    main()
