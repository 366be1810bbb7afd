"""Every write leaves a row: who, what, when, from where, which fields changed."""
