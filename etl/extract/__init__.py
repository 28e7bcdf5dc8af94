"""`python -m etl.extract`: the MPI program that joins catalogue, plan, source, upsample and store."""

import os

# The cores are the ranks': read by OpenBLAS when numpy is first imported, so it stands before every other import.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
