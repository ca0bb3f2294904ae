"""How files are kept: written whole or not at all, as arrays, weights and JSON, by one process at a time."""
