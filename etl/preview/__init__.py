"""`python -m etl.preview STORE --out F.png`: patches with their labels, and what became of every cell of a tile."""
