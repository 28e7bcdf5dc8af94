"""Workers: start one process a rank, let them exchange values, and end all of them when one is lost."""
