"""The main job: a recording in, a run folder out. `from firstsight.perceive.run import perceive`."""
