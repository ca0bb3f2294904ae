"""Models that were trained elsewhere: an ONNX file with a description beside it takes a method's place.

`description` is what the JSON file says, `session` runs the network, `models` are the roles it can have.
"""
