"""The commands: parse, call one flow, print. Nothing heavy is imported before a command runs."""
