"""Who may do what: roles, actions and the decision, without I/O."""
