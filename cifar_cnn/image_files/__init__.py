"""Image files: find them below a folder, decode them to uint8 RGB of one size, keep the result."""
