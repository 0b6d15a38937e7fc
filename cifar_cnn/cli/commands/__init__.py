"""The commands that read runs. Each module checks the options, calls a function of analysis and prints the results."""
