"""What all rooms use: files, paths, errors, tables, figures, and small functions on tensors and seeds."""
