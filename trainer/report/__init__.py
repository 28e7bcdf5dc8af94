"""Report: the record that a run writes, and the HTML page that `python -m trainer.report` makes of such records."""
