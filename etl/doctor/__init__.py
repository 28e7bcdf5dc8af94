"""`python -m etl.doctor`: test each part of the installation, and print how to repair what does not work."""
