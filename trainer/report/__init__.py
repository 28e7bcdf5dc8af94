"""Report: the record that a run writes, and the page that `python -m trainer.report` draws from such records."""
