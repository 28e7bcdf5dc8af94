"""Predictions as tables and as maps: GeoPackage, GeoParquet and GeoTIFF; windows across neighbouring patches."""
