"""The work of the commands that are not `perceive`: what the command line parses, these do."""
