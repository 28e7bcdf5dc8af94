"""A small archive in authentic formats, drawn from a seed alone: `python -m etl.sample`.

spectra -> fields -> landcover -> sensor -> drawing == safe (tiles), archive (patches, labels, lists) -> `__main__`.
"""
