"""One module a question; each has QUESTION and `measure`."""
