"""A small archive in authentic formats, drawn from nothing but a seed: `python -m etl.sample`.

spectra -> fields -> landcover -> drawing == safe (tiles), archive (patches, labels, lists), joined by `__main__`.
"""
