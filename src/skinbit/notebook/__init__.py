"""Code of the notebooks only: access to a finished study, its plots, its photographs."""
