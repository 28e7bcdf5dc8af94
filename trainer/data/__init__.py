"""Data: selects rows, divides them among workers, reads and augments batches."""
