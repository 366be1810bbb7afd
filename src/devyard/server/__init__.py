"""The control plane: REST API, database, leased loops, and the supervisor that starts everything else."""
