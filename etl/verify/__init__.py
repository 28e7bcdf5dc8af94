"""`python -m etl.verify STORE`: compares a store with its checksums, its catalogue and, if asked, its source."""
