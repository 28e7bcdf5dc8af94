"""`python -m etl.convert STORE --out OTHER`: a store in another format or layout, whole or a part of its rows."""
