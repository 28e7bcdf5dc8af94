"""Measure `etl` and `trainer` and compare them with peers: a scenario per question, a JSON record per answer."""
