"""Sessions and named API tokens: their text, their rows, and signing in with them."""
