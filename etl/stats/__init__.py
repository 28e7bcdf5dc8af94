"""`python -m etl.stats STORE`: histograms and percentiles by band, split and class, and what is known of the labels."""
