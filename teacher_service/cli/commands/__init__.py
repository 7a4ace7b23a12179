"""What an operator can type: the options and the help of each command.

These modules import nothing but the terminal and the terms of a key, so that help is printed at once. A command imports
what it does when it runs, from the module of the same name in `teacher_service.cli`.
"""
