"""Clients of vendors, against servers of another make and scripted answers."""
