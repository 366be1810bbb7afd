"""What every route shares: sign-in, permissions, errors, paging, request ids, streaming."""
