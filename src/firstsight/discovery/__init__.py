"""Object discovery: which pixels belong together, without labels."""
