"""What a run leaves on the disk: its folder, its checkpoints, the results of its tests."""
