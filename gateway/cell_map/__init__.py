"""The map of cells: where each lies among all others, live; groups, gates, pictures and tables of what is selected."""
