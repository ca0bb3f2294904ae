"""Simultaneous localisation and mapping: the back end that makes all measurements agree."""
