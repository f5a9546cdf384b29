"""The review of groups: a page on this machine that asks a person, and writes every answer into a ledger."""
