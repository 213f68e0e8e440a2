"""Format one section of the page each."""
