"""`etl.extract` with a lease of two seconds, so that a test need not wait a minute."""

from functools import partial

from etl.extract.run import extract
from etl.extract.settings import ExtractSettings
from etl.extract.watchdog import COMPLETION_ADVICE
from etl.mpi import launch
from etl.settings import load_settings

if __name__ == "__main__":
    launch(lambda: load_settings(ExtractSettings, "etl.extract"), partial(extract, lease_s=2.0), COMPLETION_ADVICE)
