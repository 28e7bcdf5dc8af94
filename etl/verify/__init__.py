"""`python -m etl.verify STORE`: holds a store against itself, its catalogue and, if asked, its source pixels."""
