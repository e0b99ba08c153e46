"""Accounts: who keys, money and characters belong to."""
