"""PostgreSQL: pool, migrations, leases and wake-ups. Nothing outside devyard.server imports it."""
