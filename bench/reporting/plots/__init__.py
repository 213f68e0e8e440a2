"""The plots of the page."""
