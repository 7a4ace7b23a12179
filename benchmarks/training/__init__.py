"""What training costs, as ratios of what is measured in turns in one run. `__main__.py` lists the parts."""
