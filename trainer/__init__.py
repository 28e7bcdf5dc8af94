"""A store of patches to a trained multi-label land-cover classifier.

catalogue -> plan -> source -> upsample -> store == stream -> model -> fit -> report

This package is what stands right of `==`: `python -m trainer.run`, `trainer.evaluate`, `trainer.predict`,
`trainer.report`.
"""
