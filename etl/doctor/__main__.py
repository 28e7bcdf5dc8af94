"""`python -m etl.doctor`: check each part of the stack on this machine, and say how to close each gap."""

import sys

from etl.doctor.run import main

if __name__ == "__main__":
    sys.exit(main())
