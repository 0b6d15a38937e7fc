"""What is checked of a network before a run starts."""
