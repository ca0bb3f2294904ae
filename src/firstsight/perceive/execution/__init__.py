"""How stages are run: kept going after a kill, on all cores, with each frame decoded once."""
