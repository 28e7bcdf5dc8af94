"""`python -m small_map PRODUCT FLAGS`: the command trainer.map for a run of `small_training`."""

import sys

from small_training import train_small_networks

from trainer.map import main

if __name__ == "__main__":
    train_small_networks()
    sys.exit(main())
