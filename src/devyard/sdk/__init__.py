"""Client of the REST API over the wire types; rebuilds the server's errors as the same classes."""
