"""What people look at: HTML pages with tables and charts, matplotlib figures, and summaries in the log."""
