"""What a user can type: the options and the help of each command.

These modules import nothing but the terminal, so that help is printed at once. A command imports what it does when it
runs, from the module of the same name in `distill_worker.cli.actions`.
"""
