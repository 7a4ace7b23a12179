"""A teacher that an experiment has of its own: trained, served on this machine, or made worse."""
