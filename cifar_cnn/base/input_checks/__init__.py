"""Checks of the user's input to the core. Each raises an InputError that suggests what to write instead."""
