"""The assistant: a network that was trained on other data helps to label the pool of the first round."""
