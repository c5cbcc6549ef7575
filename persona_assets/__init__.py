"""Personas and persona-driven conversations from web documents, every row explained."""
