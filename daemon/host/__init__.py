"""The host's side of machines: reaching them by name, and doing what they ask for in their command files."""
