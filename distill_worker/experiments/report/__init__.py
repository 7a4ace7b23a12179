"""The page that a run or a comparison ends with: one HTML file that needs neither a network nor a script."""
