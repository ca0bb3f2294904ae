"""Features of images, learnt without labels."""
