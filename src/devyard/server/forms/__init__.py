"""Forms: a version's parameters worked out for values that a user tries (docs/design/forms.md)."""
