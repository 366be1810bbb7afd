"""Uploaded archives: checked when they come, kept by their hash, given back to those who may have them."""
