"""The commands that read runs: each module checks its options, calls a function of analysis and prints."""
