"""The files of a run: its folder, its checkpoints, and the results of its tests."""
