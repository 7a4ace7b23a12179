"""Files that an earlier layout of the code wrote, and the script that wrote them."""
