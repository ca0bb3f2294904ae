"""Features of pictures, learnt without labels."""
