"""Exact resume and safe stops."""
