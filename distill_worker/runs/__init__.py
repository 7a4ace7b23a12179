"""A run: choose samples, buy their outputs, train a student, in one round or several."""
