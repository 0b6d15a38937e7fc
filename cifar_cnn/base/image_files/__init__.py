"""Find image files in a folder, decode them to uint8 RGB of one size, and cache the result."""
