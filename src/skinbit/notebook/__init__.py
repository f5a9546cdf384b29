"""What only the notebooks use: access to a finished study, its plots, its photographs."""
