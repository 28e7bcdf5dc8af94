"""Data: which row goes to which worker in which step, and the pixels of a batch until the network sees them."""
