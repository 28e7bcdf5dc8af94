"""Ways to read batches of patches in a given order, ours and others', each with its best settings.

A reader is a module with `write(place, rows, order)`, which lays `rows`, uint16 (row, y, x, band), out as the reader
wants them, and `batches(place, order)`, which gives the rows of each line of `order`, int64 (step, batch), as
uint16 (batch, y, x, band). Formats that are only read from front to end are written in the order in which they are
read.
"""
