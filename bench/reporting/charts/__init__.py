"""Vega-Lite charts, written with Altair; their data are named datasets of the page."""
