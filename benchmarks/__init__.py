"""Measurements of `etl` and `trainer` against their peers: one scenario a question, one JSON record an answer."""
