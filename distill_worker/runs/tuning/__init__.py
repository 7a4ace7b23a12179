"""Settings of a run, chosen by k-fold cross-fitting on its bought outputs, before its student is trained."""
