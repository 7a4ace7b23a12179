"""The routes: thin functions between HTTP and the rooms below."""
