"""Files of products compared with their checksums on several ranks."""

import pytest
from bad_input import image, product_of, random_pixels

from etl.sample.safe import write_product
from etl.source.content import digests_of
from etl.source.inspection import compare_files
from etl.source.open_product import read_product


@pytest.mark.mpi(ranks=[1, 2, 3], timeout=60)
def test_every_rank_knows_the_damage_and_each_file_is_hashed_on_one(mpi_ranks, comm, mpi_tmp_path, monkeypatch):
    if comm.rank == 0:
        products = [write_product(mpi_tmp_path, product_of(day), random_pixels(day, 120)) for day in (1, 2)]
        image(products[1], "B05", 20).open("ab").write(b"\0")
    else:
        products = None
    products = comm.bcast(products)
    hashed = []
    monkeypatch.setattr(
        "etl.source.inspection.digests_of",
        lambda file, kinds: hashed.append((file.product, file.name)) or digests_of(file, kinds),
    )
    results = compare_files([read_product(products[0]), None, read_product(products[1])], comm)
    assert [result.compared for result in results] == [15, 0, 15]
    assert [len(result.damaged) for result in results] == [0, 0, 1]
    everyone = [name for part in comm.allgather(hashed) for name in part]
    assert len(everyone) == len(set(everyone)) == 30
