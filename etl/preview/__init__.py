"""`python -m etl.preview STORE --out F.png`: patches with their labels, and a map of each tile."""
