"""`python -m etl.submit`: submit the chain of jobs that the settings describe, or tell its state; starts no MPI."""

import logging
import sys

from etl.exit_status import ExitStatus, JobError, exit_status_of
from etl.output import escape_output
from etl.settings import load_settings
from etl.submit.run import submit
from etl.submit.settings import SubmitSettings
from etl.submit.status import print_status


def main() -> int:
    """Run the command; returns the exit status."""
    escape_output()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    settings = load_settings(SubmitSettings, "etl.submit")
    try:
        return print_status(settings.chain) if settings.status else submit(settings)
    except (JobError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return exit_status_of(error)
    except KeyboardInterrupt:
        print("error: interrupted before a job was submitted", file=sys.stderr)
        return ExitStatus.FAILED


if __name__ == "__main__":
    sys.exit(main())
