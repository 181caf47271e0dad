"""Reports of runs: leaderboards as rows, tables and a page, summaries for the terminal, plots."""
