"""The report of a replay: one page that opens anywhere, and its pictures."""
