"""`python -m etl.superres fetch | evaluate | convert`: weights of DSen2, and their errors on a product."""
