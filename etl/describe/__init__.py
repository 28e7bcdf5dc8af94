"""Describe a store so that others can find and cite it: `python -m etl.describe`."""
