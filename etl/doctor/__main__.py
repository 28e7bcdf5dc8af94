"""`python -m etl.doctor`: test each part of the installation, and print how to repair what does not work."""

import sys

from etl.doctor.run import main

if __name__ == "__main__":
    sys.exit(main())
