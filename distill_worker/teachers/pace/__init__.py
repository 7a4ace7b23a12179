"""How fast requests may be sent: what a teacher states, and the pace that keeps to it."""
