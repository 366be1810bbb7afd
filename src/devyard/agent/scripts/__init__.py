"""Scripts of the template: at start, at stop, by clock; and where their output goes."""
