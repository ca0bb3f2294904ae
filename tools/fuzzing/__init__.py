"""The parts of tools/fuzz.py: small intact files, what is done to them, and what may come of reading them."""
