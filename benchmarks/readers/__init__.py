"""Readers of batches of patches in a given order: this project's and others, each with its best settings.

A reader is a module with two functions. `write(path, rows, order)` writes `rows`, uint16 (row, y, x, band), in the
reader's format. `batches(path, order)` yields the rows of each line of `order`, int64 (step, batch), as uint16 (batch,
y, x, band). Formats that can only be read sequentially are written in the order in which they are read. In names,
`ours` is this project.
"""
