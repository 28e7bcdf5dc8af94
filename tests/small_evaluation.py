"""`python -m small_evaluation FLAGS`: the command trainer.evaluate for a run of `small_training`."""

import sys

from small_training import train_small_networks

from trainer.evaluate import main

if __name__ == "__main__":
    train_small_networks()
    sys.exit(main())
