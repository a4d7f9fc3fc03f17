"""Who may do what: tokens, users, sessions, and what keeps guesses and foreign sites out."""
