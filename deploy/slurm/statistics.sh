#!/bin/bash
# Statistics: percentiles and histograms of the store, on one page.
run etl.stats "$STORE"
