"""The nodes of final_model, by theme."""
