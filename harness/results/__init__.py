"""What comes out: summaries, statistics, reports, exports, reproductions and status."""
