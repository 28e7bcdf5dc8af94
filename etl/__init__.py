"""Sentinel-2 tiles, or an archive of patches cut from them, to one analysis-ready store.

catalogue -> plan -> source -> upsample -> store == stream -> model -> fit -> report

This package is what stands left of `==`. Every command is a module: `python -m etl.doctor`, `etl.sample`,
`etl.catalogue`, `etl.extract`, `etl.superres`, `etl.verify`, `etl.preview`, `etl.stats`.
"""
