"""What people look at: HTML pages with their tables and charts, matplotlib figures, and lines of the log."""
