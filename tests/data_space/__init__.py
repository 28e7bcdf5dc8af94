"""Servers on this machine that stand for the Copernicus Data Space: OData catalogue, files, tokens, STAC API."""
