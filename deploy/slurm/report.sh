#!/bin/bash
# Report: one page about the run, with its pictures.
run trainer.report "$RUN" --out "$REPORT"
