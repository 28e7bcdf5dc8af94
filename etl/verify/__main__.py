"""`python -m etl.verify STORE`, alone or under mpirun: check a store."""

from etl.mpi import launch
from etl.settings import load_settings
from etl.verify.run import verify
from etl.verify.settings import VerifySettings
from etl.without_pandas import leave_out_pandas

if __name__ == "__main__":
    leave_out_pandas()
    launch(lambda: load_settings(VerifySettings, "etl.verify", positional="store"), verify)
