"""Explanations for people and programs: text, tables, drawings, pages, files."""
