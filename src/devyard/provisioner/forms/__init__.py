"""Forms: a template's parameters worked out for values that a user tries, beside jobs (docs/design/forms.md)."""
