#!/bin/bash
# Verification: every row of the store by its checksum, statistics and labels. The training waits for it.
run etl.verify "$STORE" --catalogue "$CATALOGUE"
