"""What only notebooks use: a finished study, its figures, its photographs."""
