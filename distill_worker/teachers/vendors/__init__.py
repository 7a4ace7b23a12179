"""Teachers as vendors sell them: each request has one image and is charged, and nothing is stated before."""
