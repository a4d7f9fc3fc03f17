"""How the daemon serves: its sockets, the first answer, limits, and its end without a lost request."""
