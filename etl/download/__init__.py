"""Fetch Sentinel-2 products, or BigEarthNet's archives, from a data service: `python -m etl.download`."""
