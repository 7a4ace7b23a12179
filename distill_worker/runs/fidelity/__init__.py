"""How well the student of a run agrees with its teacher on samples that it was not trained on."""
