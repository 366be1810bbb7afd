"""What is deleted when it is old: one rule for each growing table, run by leased loops in small batches."""
