"""Money: what requests cost, who pays, and the ledger that says so."""
