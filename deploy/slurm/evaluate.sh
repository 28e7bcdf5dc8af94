#!/bin/bash
# Evaluation: scores of the trained network on a split, test unless [evaluate] of pipeline.toml names another.
run trainer.evaluate --run "$RUN" --store "$STORE"
