#!/bin/bash
# Extraction with DSen2 on GPU nodes, in place of extract.sh: several ranks share a GPU, since most of them decode.
make_folder "$STORE_FOLDER"
export TF_FORCE_GPU_ALLOW_GROWTH=${TF_FORCE_GPU_ALLOW_GROWTH:-true} # otherwise the first rank takes a GPU's memory
run etl.extract --catalogue "$CATALOGUE" --out "$STORE" --upsample dsen2 --resume
