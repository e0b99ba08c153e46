"""Reports: what an account spent, on what and by which key. They only read; the ledger writes."""
