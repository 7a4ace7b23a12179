"""What commands do. A command imports its action, from the module of the same name here, when it runs."""
