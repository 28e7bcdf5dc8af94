#!/bin/bash
# Catalogue: the patches of the source, as [catalogue] of pipeline.toml describes it, to one table.
mkdir -p -- "$(dirname -- "$CATALOGUE")"
run etl.catalogue --out "$CATALOGUE"
