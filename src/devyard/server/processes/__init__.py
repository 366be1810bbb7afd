"""`devyard server` as processes: the supervisor, its children, the embedded PostgreSQL, one API process."""
