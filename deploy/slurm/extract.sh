#!/bin/bash
# Extraction on CPU nodes, one rank a core: products to one store. It goes on where an earlier attempt was stopped.
make_folder "$STORE_FOLDER"
run etl.extract --catalogue "$CATALOGUE" --out "$STORE" --resume
