"""Runs the extractions that a test asks for, one after another: to start a process for each would take seconds."""

import contextlib
import json
import sys

from etl.exit_status import JobError
from etl.extract.run import extract
from etl.extract.settings import ExtractSettings
from etl.mpi import comm_self
from etl.settings import load_settings

for line in sys.stdin:
    flags, lease_s = json.loads(line)
    with contextlib.redirect_stdout(sys.stderr):
        settings = load_settings(ExtractSettings, "etl.extract", flags)
        try:
            answer = [int(extract(settings, comm_self(), lease_s)), ""]
        except JobError as error:
            answer = [int(error.status), str(error)]
    print(json.dumps(answer), flush=True)
