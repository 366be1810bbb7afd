"""Templates and their versions: made from uploaded archives by import jobs, planned by dry runs."""
