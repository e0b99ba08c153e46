"""What is kept on disk: one SQLite file now, PostgreSQL behind the same interface later."""
