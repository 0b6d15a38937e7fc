"""Which code a config or a checkpoint may import."""
