"""What is made of a finished student: predictions, files in other formats, and the model card beside them."""
