"""Fetch Sentinel-2 products from a data service: `python -m etl.download`."""
