"""Workers: start one process per rank, let them exchange values, and end all of them if one is lost."""
