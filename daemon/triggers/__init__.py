"""Who asks: each trigger parses, submits and phrases the answer."""
