"""The command line: parser, commands, help and plain errors."""
