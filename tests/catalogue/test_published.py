"""Whether patches are of BigEarthNet, by their names: sampled hashes of the published names, and what a store says."""

import csv
import gzip

import numpy as np
import pyarrow.parquet as pq
import pytest
from stores import make_catalogue

from etl.catalogue.published import PUBLISHED, archive_of, published_hashes, sampled_hashes
from etl.catalogue.table import read_catalogue
from etl.extract.provenance import store_attributes
from etl.extract.settings import ExtractSettings
from etl.schema import Schema
from etl.upsample.method import UpsampleMethod
from trainer.report import paper

V1, V2 = PUBLISHED
CELLS = ("29_90", "31_86", "32_83", "33_75", "33_87", "34_83", "35_90", "37_87", "38_85")
SAMPLED_V1 = [f"S2A_MSIL2A_20170717T113321_{cell}".encode() for cell in CELLS]
"""Published names of version 1, all of which are sampled."""

COORDINATES = [f"S2A_MSIL2A_20170717T113321_{i}_{j}".encode() for i in range(91) for j in range(91)]
"""All cells of the tile, of which some were published."""


def attributes_of(path, names):
    make_catalogue(path, len(names), patch=[name.decode() for name in names])
    return store_attributes(ExtractSettings(), Schema(len(names)), UpsampleMethod("none"), read_catalogue(path))


def test_a_store_names_the_archive_only_where_enough_names_are_sampled_and_all_of_them_are_published(tmp_path):
    others = [name + b"0" for name in COORDINATES[:400]]  # cells that no tile has
    assert len(sampled_hashes(others)) > 0
    cases = {
        "all": (SAMPLED_V1, V1),
        "least": (SAMPLED_V1[:8], V1),
        "few": (SAMPLED_V1[:7], None),
        "repeated": (SAMPLED_V1[:7] * 2, None),
        "mixed": (SAMPLED_V1 + others, None),
        "others": (others, None),
    }
    for case, (names, archive) in cases.items():
        assert attributes_of(tmp_path / f"{case}.parquet", names).get("archive") == archive, case


def test_a_grid_of_which_some_cells_were_published_is_not_the_archive():
    assert len(sampled_hashes(COORDINATES)) > 200
    assert archive_of(np.array(COORDINATES)) == ""


@pytest.mark.process
def test_no_name_of_the_drawn_sample_is_published(sample):
    assert archive_of(read_catalogue(sample / "patches.parquet").patch) == ""


def test_the_paper_is_of_an_archive_that_stores_name():
    assert paper.ARCHIVE in PUBLISHED


def test_the_hashes_are_those_of_the_published_lists(shared_data):
    lists = shared_data / "lists"
    with gzip.open(lists / "patch_to_l1c_product.csv.gz", "rt") as file:
        rows = [(row["l1c_product"], row["patch"].encode()) for row in csv.DictReader(file)]
    tables = [pq.read_table(lists / f"metadata_v2{part}.parquet") for part in ("", "_snow_cloud")]
    names = {V1: [name for _, name in rows], V2: [n.encode() for t in tables for n in t["patch_id"].to_pylist()]}
    for archive, published in names.items():
        assert np.array_equal(sampled_hashes(published), published_hashes(archive))
        assert archive_of(np.array(published)) == archive
    by_product: dict[str, list[bytes]] = {}
    for product, name in rows:
        by_product.setdefault(product, []).append(name)
    unknown = [len(of) for of in by_product.values() if archive_of(np.array(of)) != V1]
    assert sorted(unknown) == [76, 76, 76, 76, 96]  # five corners of tiles, too small to tell


def test_the_seven_real_patches_are_too_few_to_tell(shared_data):
    names = sorted(path.name.encode() for path in (shared_data / "patches_v1").iterdir())
    assert (len(names), archive_of(np.array(names))) == (7, "")
