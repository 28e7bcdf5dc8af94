"""Train a multi-label land-cover classifier on a store of patches.

catalogue -> plan -> source -> upsample -> store == stream -> model -> fit -> report

This package does what is to the right of `==`. Its commands are `python -m trainer.run`, `trainer.evaluate`,
`trainer.predict`, `trainer.map`, `trainer.export` and `trainer.report`. To learn the code, read `run`, then
`fit.training` and `fit.loop`. Each of its packages imports only those before it in this list: `workers` and `config`;
`data`; `model`; `fit` or `maps`; `report`.
"""
