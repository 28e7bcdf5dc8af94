"""`python -m etl.submit`: a chain of batch jobs, from the catalogue to the report, rendered, submitted and watched."""
