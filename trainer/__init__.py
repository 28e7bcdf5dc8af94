"""A store of patches to a trained multi-label land-cover classifier.

catalogue -> plan -> source -> upsample -> store == stream -> model -> fit -> report

This package is what stands right of `==`: `python -m trainer.run`, `trainer.evaluate`, `trainer.predict`,
`trainer.report`. Read `run`, then `fit.training` and `fit.loop`. Each room imports only those before it: `workers` and
`config`; `data` with the stream; `model`; `fit`; `report`.
"""
