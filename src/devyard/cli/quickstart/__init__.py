"""`devyard quickstart`, and the server that it runs."""
