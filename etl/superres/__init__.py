"""`python -m etl.superres fetch | evaluate | convert`: weights of DSen2, and how well they sharpen a product."""
